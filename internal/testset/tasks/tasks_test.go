package tasks

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/longform-go/longform/data"
	"github.com/longform-go/longform/internal/hub/hubtest"
)

// Every set gives its instructions and references, whatever form it is published in; what has no reference is left out.
func TestTasks(t *testing.T) {
	soup := data.Record{
		Input:  "Write directions of a cooking recipe with these ingredients: peas, onion, salt",
		Output: "Boil the peas.\nAdd the onion, and \"a pinch\" of salt.", Source: "Gathered",
	}
	cream := data.Record{Input: "Write directions of a cooking recipe with these ingredients: yolks, cream", Output: "Stir.\nBake until firm.", Source: "Recipes1M"}
	questions := []data.Record{
		{Input: "Why is the sky dark at night?", Output: "The sun is on the other side.", Source: "explainlikeimfive"},
		{Input: "Do fish sleep?\nI looked & wondered.", Output: "Many do.", Source: "askscience"},
	}
	stories := []data.Record{
		{Input: "Prompt: A lamp that only works by day . Write a story about given prompt.", Output: "It was noon . \n \n Nobody noticed ."},
		{Input: "Prompt: You are the last owl . Write a story about given prompt.", Output: "Hoo , I said ."},
		{Input: "Prompt: No tag [ really ] . Write a story about given prompt.", Output: "`` Yes , '' she said ."},
	}
	for _, test := range []struct {
		task, source string
		want         []data.Record
		without      int
	}{
		{"recipenlg", "testdata/full_dataset.csv", []data.Record{soup, cream}, 1},
		{"eli5", "testdata/eli5.jsonl", questions, 1},
		{"eli5", "testdata/eli5.parquet", questions, 1},
		{"writingprompts", "testdata/writingPrompts", stories, 0},
		{"writingprompts", "testdata/writingPrompts/test.wp_source", stories, 0},
		{"writingprompts", "testdata/stories.jsonl", stories, 0},
		{"writingprompts", "testdata/stories.parquet", stories, 0},
		{"news", "testdata/news", []data.Record{
			{Input: "Schreiben Sie einen Nachrichtenartikel mit dem Titel: Eule gefunden", Output: "Im Wald wurde eine Eule gefunden.", Source: "de"},
		}, 1},
		{"news", "testdata/mlsum/fr/test-00000.parquet", []data.Record{
			{Input: "Rédigez un article de presse dont le titre est : Un hibou trouvé", Output: "On a trouvé un hibou dans la forêt.", Source: "fr"},
		}, 0},
	} {
		t.Run(test.task+" "+filepath.Base(test.source), func(t *testing.T) {
			task, err := Find(test.task)
			if err != nil {
				t.Fatal(err)
			}
			got, err := task.Read(test.source, 0)
			if want := (Set{test.want, len(test.want), test.without}); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("got %+v, error %v\nwant %+v", got, err, want)
			}
		})
	}
}

// Models are measured on the test split, unless another is named.
func TestSplits(t *testing.T) {
	h := hubtest.New(t)
	dir := t.TempDir()
	files := map[string]string{}
	for _, split := range []string{"train", "val", "test"} {
		files["data/"+split+"-00000.jsonl"] = fmt.Sprintf(`{"input": "a", "output": "in %s"}`, split)
		if err := os.WriteFile(filepath.Join(dir, "de_"+split+".jsonl"), fmt.Appendf(nil, `{"title": "a", "text": "in %s"}`, split), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	h.Put("datasets", "owner/name", hubtest.Repository{Files: files})
	for _, test := range []struct{ task, source, want string }{
		{"news", dir, "in test"},
		{"news", dir + ":validation", "in val"},
		{"news", filepath.Join(dir, "de_train.jsonl"), "in train"},
		{"longform", "owner/name", "in test"},
		{"longform", "owner/name:train", "in train"},
	} {
		task, err := Find(test.task)
		if err != nil {
			t.Fatal(err)
		}
		set, err := task.Read(test.source, 0)
		if err != nil || len(set.Records) != 1 || set.Records[0].Output != test.want {
			t.Errorf("%s: %+v, error %v, want the record %q", test.source, set, err, test.want)
		}
	}
}

func TestRefused(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	parquet, err := os.ReadFile("testdata/eli5.parquet")
	if err != nil {
		t.Fatal(err)
	}
	write("uneven.wp_target", "one\ntwo\n")
	write("latin1.wp_target", "one\ncaf\xe9\n")
	for _, test := range []struct{ task, source, want string }{
		{"recipenlg", write("empty.csv", ""), "empty.csv: the file is empty; give RecipeNLG's full_dataset.csv"},
		{"recipenlg", write("other.csv", "title,directions\n"), `other.csv: no column "NER" in it, but title, directions`},
		{"recipenlg", write("list.csv", "directions,NER,source\n\"[\"\"a\"\"]\",salt,Gathered\n"), "list.csv:2: column NER is no list of texts"},
		{"recipenlg", write("torn.csv", "directions,NER,source\n[],[]\n"), "torn.csv: record on line 2: wrong number of fields"},
		{"recipenlg", filepath.Join(dir, "none.csv"), "no such file or directory; give RecipeNLG's full_dataset.csv"},
		{"recipenlg", write("records.csv", `{"input": "a"}`), `bare " in non-quoted-field; give RecipeNLG's full_dataset.csv`},
		{"eli5", write("empty.jsonl", " \n"), "empty.jsonl:1: the file is empty"},
		{"eli5", write("torn.jsonl", "{\"title\": \"a\"}\n{\"title\": "), "torn.jsonl:2: malformed JSON: unexpected end of JSON input"},
		{"eli5", write("torn.json", "[{\"title\": \"a\"},\n{\"title\": \"b\"}\n"), "torn.json:2: element 3: malformed JSON: unexpected end of JSON input"},
		{"eli5", write("twice.json", "[{\"title\": \"a\"}]\n[{\"title\": \"b\"}]"), "twice.json:2: malformed JSON: text after the end of the array"},
		{"eli5", write("latin1.jsonl", "{\"title\": \"a\"}\n{\"title\": \"caf\xe9\"}"), "latin1.jsonl:2: invalid UTF-8; save the file as UTF-8"},
		{"eli5", write("number.jsonl", `{"title": 1}`), "number.jsonl:1: malformed JSON: json: cannot unmarshal number"},
		{"eli5", write("other.json", `[{"question": "a"}]`), "other.json:1: element 1: it has no title"},
		{"eli5", write("uneven.jsonl", `{"title": "a", "answers": {"text": ["b"], "score": []}}`), "uneven.jsonl:1: it has another number of answers than of scores"},
		{"eli5", write("text.parquet", "PAR1 and no more"), "text.parquet: not a Parquet file"},
		{"eli5", write("torn.parquet", string(parquet[:len(parquet)/2])), "torn.parquet: not a Parquet file"},
		{"eli5", write("unanswered.jsonl", "{\"title\": \"a\"}\n{\"title\": \"b\"}\n"), "unanswered.jsonl: none of its 2 records has a reference"},
		{"writingprompts", write("uneven.wp_source", "one\n"), "uneven.wp_source has 1 lines and "},
		{"writingprompts", write("latin1.wp_source", "one\ntwo\n"), "latin1.wp_source and .wp_target: invalid UTF-8"},
		{"recipenlg", write("latin1.csv", "directions,NER,source\n\"[\"\"Boil.\"\"]\",[],caf\xe9\n"), "latin1.csv:2: invalid UTF-8; save the file as UTF-8"},
		{"writingprompts", write("alone.wp_source", "one\n"), "alone.wp_target: no such file"},
		{"writingprompts", write("other.jsonl", `{"story": "a"}`), "other.jsonl:1: it has no prompt"},
		{"news", write("zz.jsonl", `{"title": "a", "text": "b"}`), "zz.jsonl:1: its language is"},
		{"news", write("de.jsonl", `{"title": "a", "text": "b", "language": "klingon"}`), `de.jsonl:1: its language is "klingon"`},
		{"longform", "testdata/eli5.jsonl", "eli5.jsonl:1: the record has no output"},
	} {
		task, err := Find(test.task)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := task.Read(test.source, 0); err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s %s: error %v, want %q", test.task, filepath.Base(test.source), err, test.want)
		}
	}
	if _, err := Find("mmlu"); err == nil || err.Error() != `--task is "mmlu"; it is one of longform, recipenlg, eli5, writingprompts, news` {
		t.Errorf("an unknown task: %v", err)
	}
}

// A sample keeps the order, is the same every time, and gives every record the same chance.
func TestSample(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.jsonl")
	var lines strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&lines, "{\"input\": \"%03d\", \"output\": \"a\"}\n", i)
	}
	if err := os.WriteFile(path, []byte(lines.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	var task Task
	task.records = plain
	half, err := task.Read(path, 500)
	if err != nil {
		t.Fatal(err)
	}
	again, err := task.Read(path, 500)
	if err != nil || !reflect.DeepEqual(half, again) || half.Whole != 1000 || len(half.Records) != 500 {
		t.Fatalf("%d of %d records, then %d, error %v", len(half.Records), half.Whole, len(again.Records), err)
	}
	if !slices.IsSortedFunc(half.Records, func(a, b data.Record) int { return strings.Compare(a.Input, b.Input) }) {
		t.Error("the sample has lost its order")
	}
	for part := range 4 { // 125 of each quarter, give or take four standard deviations
		n := 0
		for _, r := range half.Records {
			if int(r.Input[0]-'0')*100+int(r.Input[1]-'0')*10+int(r.Input[2]-'0') >= part*250 {
				n++
			}
		}
		if want := 500 - 125*part; n < want-40 || n > want+40 {
			t.Errorf("%d records from %d on, want about %d", n, part*250, want)
		}
	}
	if _, err := task.Read(path, 1001); err == nil || !strings.Contains(err.Error(), "--sample is 1001; ") {
		t.Errorf("more than there are: %v", err)
	}
}

// The columns are those of the paper's table: its own average over them is published, too.
func TestPublished(t *testing.T) {
	averages := map[string]float64{ // the column "All" of the table
		"T0++": 10.9, "Tk-Instruct": 6.3, "Flan-T5": 10.6, "Alpaca-LLaMA-7B": 14.6, "OPT-30B": 11.1,
		"LongForm-T5-XL": 16.3, "LongForm-OPT-2.7B": 17.8, "LongForm-OPT-6.7B": 17.7, "LongForm-LLaMA-7B": 19.7,
	}
	sums := map[string]float64{}
	for _, task := range []Task{recipeNLG, eli5, writingPrompts} {
		for _, f := range task.Published.METEOR {
			sums[f.Model] += f.Value
		}
	}
	for model, want := range averages {
		if got := sums[model] / 3; got < want-0.1 || got > want+0.1 {
			t.Errorf("%s has %.2f on average, want %v", model, got, want)
		}
	}
	if len(sums) != len(averages) {
		t.Errorf("%d models, want %d", len(sums), len(averages))
	}
}
