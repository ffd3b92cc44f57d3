package testset

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/longform-go/longform/data"
	"github.com/longform-go/longform/internal/decoding"
	"github.com/longform-go/longform/internal/pretrained"
	"github.com/longform-go/longform/internal/testset/scores"
)

// fileRecords are so many different ones, and written what stands for them.
func fileRecords(n int) (records []data.Record, written []Generation) {
	for i := range n {
		r := data.Record{Input: fmt.Sprint("input ", i), Output: "<\n>", Source: "s", Subset: "u"}
		records = append(records, r)
		written = append(written, Generation{Input: r.Input, Output: r.Output, Source: r.Source, Subset: r.Subset, TokenIDs: []int32{1}})
	}
	return records, written
}

// fileSettings are of so many records.
func fileSettings(records int) scores.Settings {
	return scores.Settings{Model: "m", Fingerprint: "0", EOS: []int{2}, Device: "go", Records: records, SHA256: "0", MaxNewTokens: 4, Temperature: 1}
}

// openedFile is ready to be written, if it is of these settings and records.
func openedFile(dir string, s scores.Settings, records []data.Record) (*file, error) {
	f, err := openFile(dir)
	if err != nil {
		return nil, err
	}
	if err := f.agree(s, records); err != nil {
		f.close()
		return nil, err
	}
	if len(f.kept) == s.Records {
		return f, nil
	}
	return f, f.goOn(s)
}

// However much a crash leaves, whole batches are kept, and writing goes on behind them.
func TestTornFile(t *testing.T) {
	records, all := fileRecords(2*rows + 3)
	s := fileSettings(len(records))
	dir := t.TempDir()
	write := func(f *file) {
		for at := len(f.kept); at < len(all); at = len(f.kept) {
			if err := f.add(all[at:min(at+rows, len(all))]); err != nil {
				t.Fatal(err)
			}
		}
		f.close()
	}
	open := func() *file {
		f, err := openedFile(dir, s, records)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	write(open())
	path := filepath.Join(dir, generationsFile)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(whole), "\n")
	for size := 0; size <= len(whole); size += 101 {
		if err := os.WriteFile(path, whole[:size], 0o644); err != nil {
			t.Fatal(err)
		}
		f := open()
		want := strings.Count(string(whole[:size]), "\n")
		if want < len(records) {
			want -= want % rows
		}
		cut, err := os.ReadFile(path)
		if err != nil || len(f.kept) != want || string(cut) != strings.Join(lines[:want], "") {
			t.Fatalf("of %d bytes %d texts and %d bytes were kept, want %d texts; error %v", size, len(f.kept), len(cut), want, err)
		}
		write(f)
		if again, err := os.ReadFile(path); err != nil || string(again) != string(whole) {
			t.Fatalf("after %d bytes the file became\n%s, error %v", size, again, err)
		}
	}
}

// edited changes the lines of the generations.
func edited(change func(lines []string) []string) func(*testing.T, string, *scores.Settings) {
	return func(t *testing.T, dir string, _ *scores.Settings) {
		path := filepath.Join(dir, generationsFile)
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		lines := slices.DeleteFunc(strings.SplitAfter(string(raw), "\n"), func(line string) bool { return line == "" })
		if err := os.WriteFile(path, []byte(strings.Join(change(lines), "")), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func replaced(old, new string) func(lines []string) []string {
	return func(lines []string) []string {
		return []string{strings.ReplaceAll(strings.Join(lines, ""), old, new)}
	}
}

func TestRefusedFiles(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(t *testing.T, dir string, s *scores.Settings)
		want   string
	}{
		{"sampling", func(_ *testing.T, _ string, s *scores.Settings) { s.TopK = 3 }, "its generations have other settings: top_k is 0 there, and 3 here; remove it, or give another --out"},
		{"records", func(_ *testing.T, _ string, s *scores.Settings) { s.SHA256 = "1" }, `records_sha256 is "0" there, and "1" here`},
		{"model", func(_ *testing.T, _ string, s *scores.Settings) { s.Fingerprint = "1" }, ": m has changed since it wrote these generations; remove it, or give another --out"},
		{"model and sampling", func(_ *testing.T, _ string, s *scores.Settings) { s.Fingerprint, s.TopK = "1", 3 }, "its generations have other settings: top_k is 0 there, and 3 here"},
		{"end tokens", func(_ *testing.T, _ string, s *scores.Settings) { s.EOS = []int{2, 3} }, "eos_token_id is [2] there, and [2,3] here"},
		{"adapter", func(_ *testing.T, _ string, s *scores.Settings) { s.Adapter = "a" }, `adapter is missing there, and "a" here`},
		{"no settings", func(t *testing.T, dir string, _ *scores.Settings) {
			if err := os.Remove(filepath.Join(dir, settingsFile)); err != nil {
				t.Fatal(err)
			}
		}, "has generations and no settings.json"},
		{"damaged settings", func(t *testing.T, dir string, _ *scores.Settings) {
			if err := os.WriteFile(filepath.Join(dir, settingsFile), []byte("{"), 0o644); err != nil {
				t.Fatal(err)
			}
		}, "settings.json: damaged: "},
		{"damage", edited(func(lines []string) []string { return append(lines[:1:1], "{\n", lines[1]) }), "generations.jsonl:2: damaged: "},
		{"no record", edited(func(lines []string) []string { return append(lines[:1:1], "{}\n") }),
			"generations.jsonl:2: it is of another record than the data's at this place; remove this line and all after it"},
		{"other order", edited(func(lines []string) []string { return []string{lines[0], lines[2], lines[1]} }), "generations.jsonl:2: it is of another record"},
		{"other input", edited(replaced("input 2", "input 3")), "generations.jsonl:3: it is of another record"},
		{"other reference", edited(replaced(`<\n>`, `<>`)), "generations.jsonl:1: it is of another record"},
		{"other source", edited(replaced(`"s"`, `"t"`)), "generations.jsonl:1: it is of another record"},
		{"other subset", edited(replaced(`"u"`, `"v"`)), "generations.jsonl:1: it is of another record"},
		{"too many", edited(func(lines []string) []string { return slices.Concat(lines, lines[:3]) }), "has 67 lines for 65 records; remove it"},
	} {
		t.Run(test.name, func(t *testing.T) {
			records, written := fileRecords(rows + 1)
			dir, s := t.TempDir(), fileSettings(len(records))
			f, err := openedFile(dir, s, records)
			if err != nil {
				t.Fatal(err)
			}
			if err := f.add(written[:rows]); err != nil {
				t.Fatal(err)
			}
			if _, err := openFile(dir); err == nil || !strings.Contains(err.Error(), "in use by another process") {
				t.Errorf("opened twice: %v", err)
			}
			f.close()
			test.change(t, dir, &s)
			if _, err := openedFile(dir, s, records); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
}

// Whatever option of decoding is another one, the settings are others, and their names are those of flags.
func TestSettingsHaveEveryOption(t *testing.T) {
	apart := map[string]string{ // options without a setting, and why
		"First":          "each text is what it is among all of them",
		"LogProbs":       "it tells of a text, and changes none",
		"PromptLogProbs": "it tells of a prompt",
		"Keep":           "it is for one prompt at a time",
		"Watch":          "nobody watches",
	}
	m := Model{Source: &pretrained.Source{}}
	settings := func(o decoding.Options) scores.Settings {
		s, err := settingsOf(m, nil, o)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	plain := settings(decoding.Options{})
	var o decoding.Options
	var visit func(v reflect.Value, name string)
	visit = func(v reflect.Value, name string) {
		if apart[name] != "" {
			delete(apart, name)
			return
		}
		switch v.Kind() {
		case reflect.Struct:
			for i := range v.NumField() {
				visit(v.Field(i), v.Type().Field(i).Name)
			}
			return
		case reflect.Int:
			v.SetInt(7)
		case reflect.Uint64:
			v.SetUint(7)
		case reflect.Float64:
			v.SetFloat(7)
		case reflect.String:
			v.SetString("7")
		case reflect.Slice:
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		default:
			t.Fatalf("option %s is a %s, which this test doesn't change", name, v.Kind())
		}
		if reflect.DeepEqual(settings(o), plain) {
			t.Errorf("no setting tells option %s", name)
		}
		v.SetZero()
	}
	visit(reflect.ValueOf(&o).Elem(), "")
	for name := range apart {
		t.Errorf("there is no option %s", name)
	}
	for name := range fields(plain) {
		if name != strings.ToLower(name) {
			t.Errorf("setting %s isn't written as JSON's others", name)
		}
	}
}
