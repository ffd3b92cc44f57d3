package scores

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// What is written is read again, figures that are no number included.
func TestRead(t *testing.T) {
	want := Report{
		Data: "d.jsonl", Task: "longform", Records: 2, Whole: 3, METEOR: METEOR, Confidence: 0.9,
		Models: []Model{{Name: "m", InputsCut: 1, Settings: Settings{Model: "runs/m", TopP: 0.9, Seed: math.MaxUint64}, All: Group{Records: 2, Figures: map[string]Figure{
			METEOR: {12.345678901234567, 0, 100}, "perplexity": {Number(math.NaN()), Number(math.Inf(-1)), Number(math.Inf(1))},
		}}}},
		Comparisons: []Comparison{{Metric: METEOR, First: "m", Second: "n", Wins: 1, Difference: -0.5, P: 1}},
	}
	raw, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), File)
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if p := got.Models[0].All.Figures["perplexity"]; !p.Value.IsNone() || !p.Low.IsNone() || !p.High.IsNone() {
		t.Errorf("a perplexity of nothing is %v", p)
	}
	for _, r := range []*Report{got, &want} {
		delete(r.Models[0].All.Figures, "perplexity") // NaN isn't itself
	}
	if !reflect.DeepEqual(*got, want) {
		t.Errorf("read %+v, want %+v", *got, want)
	}
}

func TestRefusedFiles(t *testing.T) {
	dir := t.TempDir()
	for _, test := range []struct{ name, content, want string }{
		{"torn", `{"data": "d`, "torn: damaged: unexpected end of JSON input; run infer evaluate again"},
		{"other", `{"model": "m"}`, "other: it has figures of no model; give the scores.json of an infer evaluate"},
		{"nowhere", "", "nowhere: no such file or directory; give the scores.json of an infer evaluate"},
		{".", "", "is a directory; give the scores.json of an infer evaluate"},
	} {
		path := filepath.Join(dir, test.name)
		if test.content != "" {
			if err := os.WriteFile(path, []byte(test.content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := Read(path); err == nil || !strings.HasSuffix(err.Error(), test.want) {
			t.Errorf("%s: error %v, want %q", test.name, err, test.want)
		}
	}
}

// A model is found by its name and by another way to its directory, and is alone then; a checkpoint isn't found by another one.
func TestOf(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for _, name := range []string{"a", "b", "other/a"} {
		if err := os.MkdirAll(name, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("a", "link"); err != nil {
		t.Fatal(err)
	}
	both := Report{Models: []Model{{Name: "first", Settings: Settings{Model: "./a"}}, {Name: "second", Settings: Settings{Model: "owner/b"}}}, Comparisons: make([]Comparison, 1)}
	for name, want := range map[string]string{
		"a": "first", "a/": "first", "link": "first", filepath.Join(dir, "a"): "first", "owner/b": "second", "b": "", "other/a": "", "nowhere": "",
	} {
		r, err := both.Of(name)
		switch {
		case want == "" && (err == nil || err.Error() != "it has figures of ./a and owner/b, and none of "+name+"; run infer evaluate on that"):
			t.Errorf("%s: %+v, error %v", name, r, err)
		case want != "" && (err != nil || len(r.Models) != 1 || r.Models[0].Name != want || len(r.Comparisons) != 0):
			t.Errorf("%s: %+v, error %v, want %s alone", name, r, err, want)
		}
	}
	if len(both.Models) != 2 || len(both.Comparisons) != 1 {
		t.Errorf("the report itself has changed: %+v", both)
	}
}

func TestDecoding(t *testing.T) {
	drawn := Settings{MaxNewTokens: 256, Temperature: 1, TopP: 0.9, TypicalP: 1, RepetitionPenalty: 1, Beams: 1, LengthPenalty: 1, BeamsEarlyStopping: "false"}
	greedy, search, all := drawn, drawn, drawn
	greedy.Temperature = 0
	search.Temperature, search.Beams = 0, 4
	all.TopP = 1
	for _, test := range []struct {
		settings Settings
		want     string
		matter   string // settings that change what is said
	}{
		{drawn, "at most 256 tokens, drawn from the nucleus of probability 0.9, seed 0", "Temperature|TopK|TopP|MinP|TypicalP|Seed"},
		{all, "at most 256 tokens, drawn by their probabilities, seed 0", "Temperature|TopK|TopP|MinP|TypicalP|Seed"},
		{greedy, "at most 256 tokens, the likeliest one each time", "Temperature"},
		{search, "at most 256 tokens, found by a search with 4 beams", "Beams|LengthPenalty|BeamsEarlyStopping"},
	} {
		if got := test.settings.Decoding(); got != test.want {
			t.Errorf("%q, want %q", got, test.want)
		}
		always := regexp.MustCompile(`^(MaxNewTokens|MinNewTokens|Beams|RepetitionPenalty|PresencePenalty|FrequencyPenalty|NoRepeatNGramSize|` + test.matter + `)$`)
		for _, field := range reflect.VisibleFields(reflect.TypeFor[Settings]()) {
			changed := test.settings
			switch v := reflect.ValueOf(&changed).Elem().FieldByIndex(field.Index); v.Kind() {
			case reflect.Int:
				v.SetInt(7)
			case reflect.Uint64:
				v.SetUint(7)
			case reflect.Float64:
				v.SetFloat(0.7)
			case reflect.String:
				v.SetString("never")
			}
			if said := changed.Decoding() != test.want; said != always.MatchString(field.Name) {
				t.Errorf("%s: another %s is told: %v", test.want, field.Name, said)
			}
		}
	}
}
