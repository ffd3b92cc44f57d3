package data

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestReadRecords(t *testing.T) {
	long := strings.Repeat("x", 3<<20)
	for name, c := range map[string]struct {
		content string
		want    []Record
	}{
		"array": {`[{"input":"a","output":"b","source":"s","subset":"u"},{"output":"d","input":"c"}]`,
			[]Record{{"a", "b", "s", "u"}, {"c", "d", "", ""}}},
		"lines":                  {"{\"input\":\"a\",\"output\":\"b\"}\n{\"input\":\"c\",\"output\":\"d\"}", []Record{{Input: "a", Output: "b"}, {Input: "c", Output: "d"}}},
		"Windows line ends":      {"{\"input\":\"a\",\"output\":\"b\"}\r\n{\"input\":\"c\",\"output\":\"d\"}\r\n", []Record{{Input: "a", Output: "b"}, {Input: "c", Output: "d"}}},
		"Windows array":          {"[\r\n{\"input\":\"a\",\r\n\"output\":\"b\"}\r\n]\r\n", []Record{{Input: "a", Output: "b"}}},
		"blank lines at the end": {"{\"input\":\"a\",\"output\":\"b\"}\n\n \n", []Record{{Input: "a", Output: "b"}}},
		"byte order mark":        {"\ufeff[{\"input\":\"a\",\"output\":\"b\"}]", []Record{{Input: "a", Output: "b"}}},
		"long line":              {`{"input":"a","output":"` + long + `"}`, []Record{{Input: "a", Output: long}}},
		"instruction":            {`[{"instruction":"i","input":"","output":"b"},{"instruction":"i","input":"j","output":"b"},{"instruction":"i","output":"b"},{"instruction":"i","input":null,"output":"b"}]`, []Record{{Input: "i", Output: "b"}, {Input: "i\nj", Output: "b"}, {Input: "i", Output: "b"}, {Input: "i", Output: "b"}}},
		"other fields":           {`[{"id":1,"more":{"a":[1]},"input":"a","output":"b","source":null}]`, []Record{{Input: "a", Output: "b"}}},
		"NUL and escaped characters": {`[{"input":"a\u0000\"","output":"\ud83d\ude00 \\ud800 \ufffd"}]`,
			[]Record{{Input: "a\x00\"", Output: "😀 \\ud800 \ufffd"}}},
		"empty input": {`[{"input":"","output":"b"}]`, []Record{{Output: "b"}}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ReadRecords(write(t, "records.json", c.content), "train")
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got %.200q, want %.200q", got, c.want)
			}
		})
	}
}

func TestBadRecords(t *testing.T) {
	good := `{"input":"a","output":"b"}`
	for name, c := range map[string]struct {
		content string
		line    string
		want    string
	}{
		"empty":                   {"", ":1: ", "empty"},
		"only white space":        {" \n\n", ":1: ", "empty"},
		"empty array":             {" \n[]", ":2: ", "array is empty"},
		"no output":               {good + "\n" + `{"input":"a"}` + "\n", ":2: ", "no output (the record has input)"},
		"null output":             {good + "\n" + `{"input":"a","output":null}`, ":2: ", "no output"},
		"blank output":            {`{"input":"a","output":" \n"}`, ":1: ", "output is empty"},
		"no input":                {`{"prompt":"a","output":"b"}`, ":1: ", "neither input nor instruction (the record has output, prompt)"},
		"wrong case":              {`{"Input":"a","output":"b"}`, ":1: ", "neither input nor instruction"},
		"wrong type":              {good + "\n" + good + "\n" + `{"input":3,"output":"b"}`, ":3: ", `"input" has to be text, this is 3`},
		"array output":            {`[` + good + ",\n\n" + `{"input":"a","output":["b"]}]`, ":3: element 2: ", `"output" has to be text, this is ["b"]`},
		"no object":               {"[" + good + ",\n 7]", ":2: element 2: ", "object, this is a JSON number"},
		"text in lines":           {good + "\nplain text\n", ":2: ", "malformed JSON"},
		"pretty-printed object":   {"{\n\"input\":\"a\",\n\"output\":\"b\"}", ":1: ", "one whole object"},
		"two objects a line":      {good + good, ":1: ", "malformed JSON"},
		"blank line":              {good + "\n\n" + good, ":2: ", "blank line"},
		"invalid UTF-8":           {good + "\n" + `{"input":"` + "caf\xe9" + `","output":"b"}`, ":2: ", "invalid UTF-8"},
		"invalid UTF-8 in array":  {"[" + good + ",\n\n{\"input\":\"\xc3\"}]", ":3: ", "invalid UTF-8"},
		"UTF-16":                  {"\xff\xfe[\x00]\x00", ":1: ", "UTF-16"},
		"half a surrogate pair":   {good + "\n" + `{"input":"a","output":"b \ud83d c"}`, ":2: ", "surrogate"},
		"second half alone":       {`{"input":"a","output":"\ude00"}`, ":1: ", "surrogate"},
		"missing comma":           {"[" + good + "\n" + good + "]", ":2: element 2: ", "malformed JSON"},
		"syntax inside an object": {"[" + good + ",\n{\"input\":\n\"a\" \"output\":\"b\"}]", ":3: element 2: ", "malformed JSON"},
		"trailing comma":          {"[" + good + ",\n]", ":2: element 2: ", "malformed JSON"},
		"cut short":               {"[" + good + ",\n{\"input\":\"a\",\n\"outp", ":3: element 2: ", "unexpected end"},
		"no closing bracket":      {"[" + good + "\n", ":1: element 2: ", "unexpected end"},
		"wrong bracket":           {"[" + good + "}", ":1: element 2: ", "malformed JSON"},
		"text after the array":    {"[" + good + "]\n\n[]", ":3: ", "after the end"},
		"raw control character":   {"[{\"input\":\"a\nb\",\"output\":\"b\"}]", ":1: element 1: ", "malformed JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			path := write(t, "records.jsonl", c.content)
			_, err := ReadRecords(path, "train")
			if err == nil {
				t.Fatal("no error")
			}
			if !strings.HasPrefix(err.Error(), path+c.line) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %q, want %s%s and %q", err, path, c.line, c.want)
			}
		})
	}
}

func TestReadParquet(t *testing.T) {
	want := testRecords(t)
	got, err := ReadRecords("testdata/records.parquet", "train")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	got, err = ReadRecords("testdata/instructions.parquet", "train")
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range got {
		input := want[i].Input
		if i > 1 {
			input += "\nmore"
		}
		if r != (Record{Input: input, Output: want[i].Output}) {
			t.Errorf("row %d: %q", i+1, r)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d rows, want %d", len(got), len(want))
	}
}

func TestBadParquet(t *testing.T) {
	b, err := os.ReadFile("testdata/records.parquet")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ path, want string }{
		"null output":  {"testdata/null_output.parquet", "row 2: the record has no output"},
		"wrong column": {"testdata/list_output.parquet", `column "output" has to be text`},
		"cut short":    {write(t, "a.parquet", string(b[:len(b)/2])), "not a Parquet file"},
		"no Parquet":   {write(t, "a.parquet", `[{"input":"a","output":"b"}]`), "not a Parquet file"},
		"empty":        {write(t, "a.parquet", ""), "not a Parquet file"},
		"damaged":      {write(t, "a.parquet", string(b[:4])+strings.Repeat("\x00", 1500)+string(b[1504:])), ""},
	} {
		_, err := ReadRecords(c.path, "train")
		if err == nil || !strings.HasPrefix(err.Error(), c.path+": ") || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
	}
}
