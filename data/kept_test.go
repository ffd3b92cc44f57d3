package data

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/longform-go/longform/internal/cache"
)

// keep opens an empty cache for EncodeFiles.
func keep(t *testing.T) *cache.Cache {
	t.Helper()
	t.Setenv("LONGFORM_CACHE", t.TempDir())
	c, err := cache.Open("tokens")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// entries are the files in a cache.
func entries(t *testing.T, c *cache.Cache) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(c.Dir(), "*"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func formatOf(t *testing.T, family string) Format {
	t.Helper()
	f := Format{EOI: EOIText, LossOn: LossOutput, MaxLength: 24, EOS: readExpected(t, family).EOS}
	if family == "t5" {
		f.EncoderDecoder, f.EOI, f.MaxTargetLength = true, EOINone, 20
	}
	return f
}

func encodeFiles(t *testing.T, tok *Tokenizer, f Format, files ...File) ([]Example, Report) {
	t.Helper()
	examples, report, err := EncodeFiles(tok, f, files)
	if err != nil {
		t.Fatal(err)
	}
	return examples, report
}

// What is kept gives the same batches as what it was made of.
func TestKeptExamplesGiveTheSameBatches(t *testing.T) {
	files := []File{{Name: "testdata/records.jsonl"}, {Name: "testdata/records.parquet"}}
	for _, family := range families {
		t.Run(family, func(t *testing.T) {
			c, tok, f := keep(t), openTest(t, family), formatOf(t, family)
			records, _, err := readFiles(files)
			if err != nil {
				t.Fatal(err)
			}
			fresh, want, err := Encode(tok, f, records)
			if err != nil {
				t.Fatal(err)
			}
			for _, times := range []string{"made", "kept"} {
				examples, report := encodeFiles(t, tok, f, files...)
				if report != want || len(entries(t, c)) != 1 {
					t.Fatalf("%s: report %+v, want %+v; %d files", times, report, want, len(entries(t, c)))
				}
				packings := []string{PackingNone, PackingBlocks, PackingBarrier}
				if f.EncoderDecoder {
					packings = packings[:1]
				}
				for _, packing := range packings {
					config := LoaderConfig{BatchSize: 3, Packing: packing, BlockLength: 32, Order: OrderShuffled, Seed: 5, EncoderDecoder: f.EncoderDecoder}
					a, errA := NewLoader(fresh, config)
					b, errB := NewLoader(examples, config)
					if errA != nil || errB != nil {
						t.Fatal(errA, errB)
					}
					for range 2*a.BatchesPerEpoch() + 1 {
						if x, y := a.Next(), b.Next(); !reflect.DeepEqual(x, y) {
							t.Fatalf("%s, packing %s: batch %+v, want %+v", times, packing, y, x)
						}
					}
				}
			}
		})
	}
}

// Examples are found by everything that decides what they are, and by nothing else.
func TestKeptExamplesAreFoundByContent(t *testing.T) {
	c, tok, f := keep(t), openTest(t, "llama"), formatOf(t, "llama")
	text, err := os.ReadFile("testdata/records.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	path := write(t, "records.jsonl", string(text))
	first, rest, _ := strings.Cut(string(text), "\n")
	encodeFiles(t, tok, f, File{Name: path})
	withToken, err := tok.WithToken(EOI)
	if err != nil {
		t.Fatal(err)
	}
	with := func(change func(*Format)) Format {
		changed := f
		change(&changed)
		return changed
	}
	for _, same := range []File{{Name: write(t, "another.json", string(text))}, {Name: "built in", Text: text}} {
		encodeFiles(t, tok, f, same)
		if n := len(entries(t, c)); n != 1 {
			t.Fatalf("%s: %d files, want the one there", same.Name, n)
		}
	}
	for i, changed := range []struct {
		what  string
		tok   *Tokenizer
		f     Format
		files []File
	}{
		{"a letter", tok, f, []File{{Text: []byte(strings.Replace(string(text), "e", "a", 1))}}},
		{"the order", tok, f, []File{{Text: []byte(rest)}, {Text: []byte(first)}}},
		{"a record less", tok, f, []File{{Text: []byte(rest)}}},
		{"a file twice", tok, f, []File{{Text: text}, {Text: text}}},
		{"an added token", withToken, f, []File{{Text: text}}},
		{"another tokenizer", openTest(t, "opt"), f, []File{{Text: text}}},
		{"the mark", tok, with(func(f *Format) { f.EOI = EOINone }), []File{{Text: text}}},
		{"the loss", tok, with(func(f *Format) { f.LossOn = LossAll }), []File{{Text: text}}},
		{"the cut", tok, with(func(f *Format) { f.MaxLength = 23 }), []File{{Text: text}}},
		{"the end", tok, with(func(f *Format) { f.EOS++ }), []File{{Text: text}}},
	} {
		records, _, err := readFiles(changed.files)
		if err != nil {
			t.Fatal(err)
		}
		want, _, err := Encode(changed.tok, changed.f, records)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if got, _ := encodeFiles(t, changed.tok, changed.f, changed.files...); !reflect.DeepEqual(got, want) {
				t.Errorf("%s changed: got what was kept before", changed.what)
			}
			if n := len(entries(t, c)); n != i+2 {
				t.Errorf("%s changed: %d files, want %d", changed.what, n, i+2)
			}
		}
	}
	// A file is looked at, not its name or time.
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(text), "e", "o", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	before := len(entries(t, c))
	if encodeFiles(t, tok, f, File{Name: path}); len(entries(t, c)) != before+1 {
		t.Error("a changed file of the same size and time wasn't encoded anew")
	}
}

func TestDamagedExamplesAreMadeAnew(t *testing.T) {
	c, tok, f := keep(t), openTest(t, "opt"), formatOf(t, "opt")
	file := File{Name: "testdata/records.jsonl"}
	want, wantReport := encodeFiles(t, tok, f, file)
	path := entries(t, c)[0]
	sound, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	damaged := map[string][]byte{"empty": nil}
	for at := 0; at < len(sound); at += 1 + len(sound)/97 {
		damaged[fmt.Sprintf("cut at %d", at)] = sound[:at]
		flipped := slices.Clone(sound)
		flipped[at] ^= 1 << (at % 8)
		damaged[fmt.Sprintf("byte %d", at)] = flipped
	}
	for what, content := range damaged {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if got, report := encodeFiles(t, tok, f, file); !reflect.DeepEqual(got, want) || report != wantReport {
			t.Errorf("%s: other examples", what)
		}
		if now, err := os.ReadFile(path); err != nil || !slices.Equal(now, sound) {
			t.Errorf("%s: it wasn't replaced; %v", what, err)
		}
	}
	// Nor is something sound trusted that is no examples.
	key := keyOf(tok, f, []fileSum{sumOf(t, file)})
	content := marshalExamples(want, wantReport)
	for at := range len(content) {
		if _, _, err := unmarshalExamples(content[:at]); err == nil {
			t.Errorf("the first %d bytes of %d are examples", at, len(content))
		}
	}
	if err := c.Put(key, content[:len(content)-4]); err != nil {
		t.Fatal(err)
	}
	if got, _ := encodeFiles(t, tok, f, file); !reflect.DeepEqual(got, want) {
		t.Error("other examples")
	}
	// And what is there is used.
	if err := c.Put(key, marshalExamples(want[:1], wantReport)); err != nil {
		t.Fatal(err)
	}
	if got, _ := encodeFiles(t, tok, f, file); len(got) != 1 {
		t.Error("what was kept wasn't read")
	}
}

func sumOf(t *testing.T, f File) fileSum {
	t.Helper()
	sum, err := f.sum()
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

func TestExamplesKeptBySeveralAtOnce(t *testing.T) {
	c, tok, f := keep(t), openTest(t, "t5"), formatOf(t, "t5")
	file := File{Name: "testdata/records.jsonl"}
	want, _, err := Encode(tok, f, testRecords(t))
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 20 {
				if got, _, err := EncodeFiles(tok, f, []File{file}); err != nil || !reflect.DeepEqual(got, want) {
					t.Error("other examples", err)
				}
				if err := os.RemoveAll(filepath.Join(c.Dir(), fmt.Sprintf("%x", keyOf(tok, f, []fileSum{sumOf(t, file)})))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	encodeFiles(t, tok, f, file)
	if all, err := os.ReadDir(c.Dir()); err != nil || len(all) != 1 {
		t.Errorf("%d files, want one; %v", len(all), err)
	}
}

// Without a place to keep them, examples are made each time.
func TestExamplesThatCannotBeKept(t *testing.T) {
	tok, f := openTest(t, "opt"), formatOf(t, "opt")
	for _, place := range []string{"off", "relative", write(t, "file", "")} {
		t.Setenv("LONGFORM_CACHE", place)
		if examples, _ := encodeFiles(t, tok, f, File{Name: "testdata/records.jsonl"}); len(examples) == 0 {
			t.Errorf("LONGFORM_CACHE=%s: no examples", place)
		}
	}
}

// TestEncodingVersion fails when Encode makes something else of the same records:
// encodingVersion has to be raised then, or kept examples would be the old ones.
func TestEncodingVersion(t *testing.T) {
	const version, want = 1, "027459849473d946"
	h := sha256.New()
	for _, family := range families {
		examples, report, err := Encode(openTest(t, family), formatOf(t, family), testRecords(t))
		if err != nil {
			t.Fatal(err)
		}
		h.Write(marshalExamples(examples, report))
	}
	if got := fmt.Sprintf("%x", h.Sum(nil)[:8]); got != want || encodingVersion != version {
		t.Errorf("version %d encodes to %s, and version %d to %s; raise encodingVersion and note both here", encodingVersion, got, version, want)
	}
}
