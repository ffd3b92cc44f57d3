package safetensors

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// reference is a tensor of testdata/huggingface.json.
type reference struct {
	DType string `json:"dtype"`
	Shape []int  `json:"shape"`
	Data  string `json:"data"`
}

func references(t *testing.T) map[string]reference {
	t.Helper()
	raw, err := os.ReadFile("testdata/huggingface.json")
	if err != nil {
		t.Fatal(err)
	}
	var refs map[string]reference
	if err := json.Unmarshal(raw, &refs); err != nil {
		t.Fatal(err)
	}
	return refs
}

// tensors turns the references into what Write takes, in no order.
func tensors(t *testing.T, refs map[string]reference) []Tensor {
	t.Helper()
	var all []Tensor
	for name, r := range refs {
		data, err := hex.DecodeString(r.Data)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, Tensor{Info{name, r.DType, r.Shape}, func(dst []byte) error {
			if copy(dst, data) != len(dst) || len(dst) != len(data) {
				return fmt.Errorf("asked for %d bytes of %d", len(dst), len(data))
			}
			return nil
		}})
	}
	return all
}

func TestReadsHuggingFace(t *testing.T) {
	f, err := Open("testdata/huggingface.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	refs := references(t)
	if got := f.Metadata(); !maps.Equal(got, map[string]string{"format": "pt"}) {
		t.Errorf("metadata %v", got)
	}
	if got := len(f.Tensors()); got != len(refs) {
		t.Errorf("%d tensors, want %d", got, len(refs))
	}
	for _, info := range f.Tensors() {
		want := refs[info.Name]
		if info.DType != want.DType || !slices.Equal(info.Shape, want.Shape) || info.Bytes() != int64(len(want.Data)/2) {
			t.Errorf("%+v of %d bytes, want %+v", info, info.Bytes(), want)
		}
		data := make([]byte, info.Bytes())
		if err := f.Read(info.Name, data); err != nil {
			t.Error(err)
		}
		if got := hex.EncodeToString(data); got != want.Data {
			t.Errorf("%s: data %s, want %s", info.Name, got, want.Data)
		}
	}
	if err := f.Read("nothing", nil); err == nil {
		t.Error("read a tensor that isn't there")
	}
	if err := f.Read("ids", make([]byte, 23)); err == nil {
		t.Error("read into a short buffer")
	}
}

func TestWritesWhatHuggingFaceWrites(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ours.safetensors")
	refs := references(t)
	sums, err := Write(path, tensors(t, refs), map[string]string{"format": "pt"})
	if err != nil {
		t.Fatal(err)
	}
	got, _ := os.ReadFile(path)
	want, _ := os.ReadFile("testdata/huggingface.safetensors")
	if !bytes.Equal(got, want) {
		t.Errorf("ours:\n%q\nHugging Face's:\n%q", got, want)
	}
	if sum := sha256.Sum256(want); sums.File != hex.EncodeToString(sum[:]) || sums.Size != int64(len(want)) {
		t.Errorf("sums of the file %s, %d bytes", sums.File, sums.Size)
	}
	for name, r := range refs {
		data, _ := hex.DecodeString(r.Data)
		if sum := sha256.Sum256(data); sums.Tensors[name] != hex.EncodeToString(sum[:]) {
			t.Errorf("sum of %s is %s", name, sums.Tensors[name])
		}
	}
}

func TestWriteRefuses(t *testing.T) {
	fill := func([]byte) error { return nil }
	broken := errors.New("device lost")
	for name, c := range map[string]struct {
		tensors []Tensor
		want    string
	}{
		"twice":    {[]Tensor{{Info{"a", "F32", nil}, fill}, {Info{"a", "F16", nil}, fill}}, `"a" is taken`},
		"reserved": {[]Tensor{{Info{"__metadata__", "F32", nil}, fill}}, "is taken"},
		"dtype":    {[]Tensor{{Info{"a", "F33", nil}, fill}}, `unknown dtype "F33"`},
		"negative": {[]Tensor{{Info{"a", "F32", []int{2, -1}}, fill}}, "negative dimension"},
		"huge":     {[]Tensor{{Info{"a", "F32", []int{1 << 40, 1 << 40}}, fill}}, "too large"},
		"half":     {[]Tensor{{Info{"a", "F4", []int{3}}, fill}}, "whole bytes"},
		"utf8":     {[]Tensor{{Info{"\xff", "F32", nil}, fill}}, "UTF-8"},
		"data":     {[]Tensor{{Info{"a", "F32", nil}, fill}, {Info{"b", "F32", nil}, func([]byte) error { return broken }}}, `tensor "b": device lost`},
	} {
		path := filepath.Join(t.TempDir(), "x.safetensors")
		_, err := Write(path, c.tensors, nil)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", name, err)
		}
		if name == "data" && !errors.Is(err, broken) {
			t.Errorf("%v doesn't wrap what Data returned", err)
		}
		if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: a file was left", name)
		}
	}
}

func TestWriteKeepsWhatExists(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.safetensors")
	if err := os.WriteFile(path, []byte("precious"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Write(path, nil, nil); !errors.Is(err, os.ErrExist) {
		t.Errorf("%v", err)
	}
	if got, _ := os.ReadFile(path); string(got) != "precious" {
		t.Errorf("the file holds %q", got)
	}
}

func TestWriteLeavesNothingOnPanic(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.safetensors")
	func() {
		defer func() { recover() }()
		Write(path, []Tensor{{Info{"a", "F32", nil}, func([]byte) error { panic("device lost") }}}, nil)
	}()
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Error("a file was left")
	}
}

// raw makes a file of a header and so many bytes of data.
func raw(header string, data int) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), make([]byte, data)...)
}

// malformed are files that have to be refused, with a part of the message.
var malformed = map[string]struct {
	file []byte
	want string
}{
	"empty":              {nil, "at least 8 bytes are missing"},
	"in the length":      {[]byte{9, 0, 0}, "at least 5 bytes are missing"},
	"in the header":      {raw(`{"a":{"dtype"`, 0)[:12], "at least 9 bytes are missing"},
	"in the data":        {raw(`{"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}`, 20), "truncated, 4 bytes are missing"},
	"all data":           {raw(`{"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}`, 0), "truncated, 24 bytes are missing"},
	"too long":           {raw(`{"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}`, 5), "1 bytes follow"},
	"huge header":        {[]byte("\x01\xe1\xf5\x05\x00\x00\x00\x00{}"), "claims a header of 100000001 bytes"},
	"absurd header":      {[]byte("\xff\xff\xff\xff\xff\xff\xff\xff{}"), "claims a header of 18446744073709551615 bytes"},
	"lfs pointer":        {[]byte("version https://git-lfs.github.com/spec/v1\n"), "git lfs pull"},
	"no header":          {raw("", 0), "doesn't start with '{'"},
	"space first":        {raw(" {}", 0), "doesn't start with '{'"},
	"array":              {raw("[]", 0), "doesn't start with '{'"},
	"utf8":               {raw("{\"\xff\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}", 4), "UTF-8"},
	"unfinished":         {raw(`{"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}`, 4), "malformed"},
	"followed":           {raw(`{} {}`, 0), "something follows"},
	"NUL padding":        {raw("{}\x00\x00", 0), "malformed"},
	"duplicate tensor":   {raw(`{"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[],"data_offsets":[4,8]}}`, 8), `"a" occurs twice`},
	"escaped duplicate":  {raw(`{"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"\u0061":{"dtype":"F32","shape":[],"data_offsets":[4,8]}}`, 8), `"a" occurs twice`},
	"duplicate field":    {raw(`{"a":{"dtype":"F32","shape":[],"shape":[1],"data_offsets":[0,4]}}`, 4), `"shape" occurs twice`},
	"duplicate metadata": {raw(`{"__metadata__":{"k":"1","k":"2"}}`, 0), `"k" occurs twice`},
	"metadata number":    {raw(`{"__metadata__":{"k":1}}`, 0), "should"},
	"no dtype":           {raw(`{"a":{"shape":[],"data_offsets":[0,4]}}`, 4), `"a" has no dtype`},
	"no shape":           {raw(`{"a":{"dtype":"F32","data_offsets":[0,4]}}`, 4), `"a" has no shape`},
	"null shape":         {raw(`{"a":{"dtype":"F32","shape":null,"data_offsets":[0,4]}}`, 4), "should"},
	"no offsets":         {raw(`{"a":{"dtype":"F32","shape":[]}}`, 4), "two data_offsets"},
	"three offsets":      {raw(`{"a":{"dtype":"F32","shape":[],"data_offsets":[0,4,8]}}`, 4), "two data_offsets"},
	"unknown dtype":      {raw(`{"a":{"dtype":"f32","shape":[],"data_offsets":[0,4]}}`, 4), `unknown dtype "f32"`},
	"negative dimension": {raw(`{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}`, 4), "whole number"},
	"fraction":           {raw(`{"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}}`, 4), "whole number"},
	"exponent":           {raw(`{"a":{"dtype":"F32","shape":[1e0],"data_offsets":[0,4]}}`, 4), "whole number"},
	"text dimension":     {raw(`{"a":{"dtype":"F32","shape":["1"],"data_offsets":[0,4]}}`, 4), "whole number"},
	"over 63 bits":       {raw(`{"a":{"dtype":"F32","shape":[9223372036854775808],"data_offsets":[0,4]}}`, 4), "whole number"},
	"overflow":           {raw(`{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}}`, 0), "too large"},
	"overflow to fit":    {raw(`{"a":{"dtype":"F32","shape":[4294967296,4294967297],"data_offsets":[0,17179869184]}}`, 0), "too large"},
	"size":               {raw(`{"a":{"dtype":"F16","shape":[3],"data_offsets":[0,8]}}`, 8), "takes 6 bytes but its data offsets hold 8"},
	"part of a byte":     {raw(`{"a":{"dtype":"F4","shape":[3],"data_offsets":[0,2]}}`, 2), "whole bytes"},
	"backwards":          {raw(`{"a":{"dtype":"F32","shape":[],"data_offsets":[4,0]}}`, 4), "run backwards"},
	"hole at the start":  {raw(`{"a":{"dtype":"U8","shape":[4],"data_offsets":[4,8]}}`, 8), "4 unused bytes"},
	"hole":               {raw(`{"b":{"dtype":"U8","shape":[4],"data_offsets":[6,10]},"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}`, 10), `"b": 2 unused bytes`},
	"overlap":            {raw(`{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}}`, 6), `"b": its data at offset 2 overlaps`},
	"same place":         {raw(`{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}`, 4), "overlaps"},
	"beyond the file":    {raw(`{"a":{"dtype":"U8","shape":[9223372036854775807],"data_offsets":[0,9223372036854775807]}}`, 4), "too large"},
	"exabytes":           {raw(`{"a":{"dtype":"U8","shape":[1152921504606846976],"data_offsets":[0,1152921504606846976]}}`, 4), "truncated, 1152921504606846972 bytes are missing"},
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	for name, c := range malformed {
		path := filepath.Join(dir, strings.ReplaceAll(name, " ", "-"))
		if err := os.WriteFile(path, c.file, 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := Open(path)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), path) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a directory: %v", err)
	}
	if _, err := Open(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}

func TestOpenAccepts(t *testing.T) {
	for name, file := range map[string][]byte{
		"nothing":       raw(`{}`, 0),
		"padded":        raw("{}      ", 0),
		"any order":     raw(`{"b":{"dtype":"U8","shape":[4],"data_offsets":[4,8]},"a":{"data_offsets":[0,4],"shape":[1],"dtype":"F32"}}`, 8),
		"empties":       raw(`{"b":{"dtype":"U8","shape":[0],"data_offsets":[4,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"c":{"dtype":"F64","shape":[3,0],"data_offsets":[0,0]}}`, 4),
		"unknown field": raw(`{"a":{"dtype":"F32","layout":{"tiles":[1,{}]},"shape":[],"data_offsets":[0,4]}}`, 4),
		"four bits":     raw(`{"a":{"dtype":"F4","shape":[2,3],"data_offsets":[0,3]}}`, 3),
	} {
		path := filepath.Join(t.TempDir(), "x")
		if err := os.WriteFile(path, file, 0o644); err != nil {
			t.Fatal(err)
		}
		f, err := Open(path)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		f.Close()
	}
}

// FuzzOpen feeds the reader with damaged files: shortened, a bit flipped, or a
// header that lies.
func FuzzOpen(f *testing.F) {
	good, err := os.ReadFile("testdata/huggingface.safetensors")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	for i := 0; i < len(good); i += 3 {
		f.Add(good[:i])
		damaged := slices.Clone(good)
		damaged[i] ^= 1 << (i % 8)
		f.Add(damaged)
	}
	for _, c := range malformed {
		f.Add(c.file)
	}
	path := filepath.Join(f.TempDir(), "x")
	f.Fuzz(func(t *testing.T, file []byte) {
		if err := os.WriteFile(path, file, 0o644); err != nil {
			t.Fatal(err)
		}
		opened, err := Open(path)
		if err != nil {
			return
		}
		defer opened.Close()
		// What was accepted is JSON, and its tensors take up the file exactly.
		header := file[8 : 8+binary.LittleEndian.Uint64(file)]
		if !json.Valid(header) {
			t.Fatalf("accepted the header %q", header)
		}
		total := 8 + len(header)
		for _, info := range opened.Tensors() {
			data := make([]byte, info.Bytes())
			if err := opened.Read(info.Name, data); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(data, file[total:total+len(data)]) {
				t.Fatalf("tensor %q isn't in its place", info.Name)
			}
			total += len(data)
		}
		if total != len(file) {
			t.Fatalf("tensors take %d bytes of %d", total, len(file))
		}
	})
}

// TestOpenAllocatesLittle gives headers that claim far more than there is.
func TestOpenAllocatesLittle(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	for _, name := range []string{"huge header", "absurd header", "exabytes", "in the header"} {
		if err := os.WriteFile(path, malformed[name].file, 0o644); err != nil {
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := Open(path)
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; err == nil || got > 1<<20 {
			t.Errorf("%s: %d bytes allocated, error %v", name, got, err)
		}
	}
}
