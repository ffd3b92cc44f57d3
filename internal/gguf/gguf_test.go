package gguf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
)

func openGolden(t testing.TB) *File {
	t.Helper()
	f, err := Open("testdata/quants.gguf")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestMetadataEqualsPython(t *testing.T) {
	f := openGolden(t)
	for key, want := range map[string]any{
		"general.architecture": "none", "u8": uint8(200), "i8": int8(-100), "u16": uint16(60000), "i16": int16(-30000),
		"u32": uint32(4000000000), "i32": int32(-2000000000), "u64": uint64(1 << 63), "i64": int64(-1 << 62),
		"f32": float32(0.5), "f64": 0.1, "bool": true, "text": "größer", "texts": []string{"", "a", "▁b"},
		"ints": []int32{1, -2, 3}, "floats": []float32{0.5, -0.25}, "bools": []bool{true, false}, "none": nil,
	} {
		if got := f.Value(key); !reflect.DeepEqual(got, want) {
			t.Errorf("%s is %#v, want %#v", key, got, want)
		}
	}
}

func TestDequantizeEqualsPython(t *testing.T) {
	f := openGolden(t)
	for format := range decoders {
		if format == F32 {
			continue
		}
		t.Run(format.String(), func(t *testing.T) {
			got, err := f.ReadFloat32(format.String() + "/blocks")
			if err != nil {
				t.Fatal(err)
			}
			want, err := f.ReadFloat32(format.String() + "/numbers")
			if err != nil {
				t.Fatal(err)
			}
			for i := range want {
				if math.Float32bits(got[i]) != math.Float32bits(want[i]) && !(got[i] != got[i] && want[i] != want[i]) {
					t.Fatalf("number %d is %v, want %v", i, got[i], want[i])
				}
			}
		})
	}
}

func TestQuantizeEqualsPython(t *testing.T) {
	f := openGolden(t)
	numbers, err := f.ReadFloat32("numbers")
	if err != nil {
		t.Fatal(err)
	}
	for format := range encoders {
		name := format.String() + "/quantized"
		if format == F32 {
			name = "numbers"
		}
		info, _ := f.Tensor(name)
		want, got := make([]byte, info.Bytes()), make([]byte, info.Bytes())
		if err := f.Read(name, want); err != nil {
			t.Fatal(err)
		}
		if err := Quantize(got, format, numbers); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s (error %v):\n%x, want\n%x", format, err, got, want)
		}
	}
}

// Pieces for several goroutines are the same numbers.
func TestDequantizeInPieces(t *testing.T) {
	f := openGolden(t)
	info, _ := f.Tensor("Q6_K/blocks")
	raw := make([]byte, info.Bytes())
	if err := f.Read(info.Name, raw); err != nil {
		t.Fatal(err)
	}
	once := make([]float32, info.Size())
	decodeQ6_K(once, raw)
	const copies = 1000
	many := make([]float32, copies*len(once))
	if err := Dequantize(many, Q6_K, bytes.Repeat(raw, copies)); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(many, slices.Repeat(once, copies)) {
		t.Error("they differ")
	}
}

func TestRefusedFormats(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.gguf")
	tensor := Tensor{Info{"w", 20, []int{2, 32}}, func([]byte) error { return nil }}
	if err := Write(path, nil, []Tensor{tensor}); err != nil {
		t.Fatal(err)
	}
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.ReadFloat32("w"); err == nil || !strings.Contains(err.Error(), `x.gguf: tensor "w": numbers of IQ4_NL are not supported`) {
		t.Errorf("%v", err)
	}
	if err := Dequantize(make([]float32, 32), Q8_0, make([]byte, 33)); err == nil {
		t.Error("part of a block was read")
	}
	if err := Quantize(make([]byte, 34), Q8_0, make([]float32, 31)); err == nil {
		t.Error("part of a block was written")
	}
	if _, err := ParseType("q4_K"); err == nil {
		t.Error("a format that can't be written was accepted")
	}
}

func TestWriteAndRead(t *testing.T) {
	metadata := []KV{
		{"a", uint8(1)}, {"b", "text"}, {"c", []string{"x", ""}}, {"d", []bool{true}}, {"e", []float64{1.5}}, {"f", []int8{}},
		{"g", true}, {"h", int64(-1)}, {"i", []uint16{7, 8}},
	}
	var tensors []Tensor
	for i, format := range []Type{Q8_0, F32, BF16} {
		tensors = append(tensors, Tensor{Info{format.String(), format, []int{i + 1, 32}}, func(dst []byte) error {
			for k := range dst {
				dst[k] = byte(k + i)
			}
			return nil
		}})
	}
	path := filepath.Join(t.TempDir(), "x.gguf")
	if err := Write(path, metadata, tensors); err != nil {
		t.Fatal(err)
	}
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got := f.Metadata(); !reflect.DeepEqual(got, metadata) {
		t.Errorf("metadata %v, want %v", got, metadata)
	}
	for i, info := range f.Tensors() {
		if !reflect.DeepEqual(info, tensors[i].Info) {
			t.Errorf("tensor %v, want %v", info, tensors[i].Info)
		}
		got, want := make([]byte, info.Bytes()), make([]byte, info.Bytes())
		tensors[i].Data(want)
		if err := f.Read(info.Name, got); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: data %x, want %x (error %v)", info.Name, got, want, err)
		}
	}
	if err := Write(path, nil, nil); err == nil {
		t.Error("an existing file was overwritten")
	}
	for _, bad := range []struct {
		metadata []KV
		tensors  []Tensor
	}{
		{metadata: []KV{{"a", 1}}},
		{metadata: []KV{{"a", []int{1}}}},
		{metadata: []KV{{"a", true}, {"a", true}}},
		{tensors: []Tensor{tensors[0], tensors[0]}},
		{tensors: []Tensor{{Info: Info{"w", Q8_0, []int{31}}}}},
		{tensors: []Tensor{{Info: Info{"w", F32, nil}}}},
	} {
		path := filepath.Join(t.TempDir(), "y.gguf")
		if err := Write(path, bad.metadata, bad.tensors); err == nil {
			t.Errorf("%v was written", bad)
		}
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%v left a file", bad)
		}
	}
}

// What fails after bytes were written, by an error or a panic, leaves no file.
func TestBrokenOff(t *testing.T) {
	broken := errors.New("broken")
	for name, data := range map[string]func([]byte) error{
		"error": func([]byte) error { return broken },
		"panic": func([]byte) error { panic(broken) },
	} {
		path := filepath.Join(t.TempDir(), "x.gguf")
		large := Tensor{Info{"large", F32, []int{1 << 20}}, func([]byte) error { return nil }} // more than is buffered
		last := Tensor{Info{"last", F32, []int{1}}, func(dst []byte) error {
			if stat, err := os.Stat(path); err != nil || stat.Size() < large.Bytes() {
				t.Errorf("%s: nothing is written yet (error %v)", name, err)
			}
			return data(dst)
		}}
		var err error
		func() {
			defer func() {
				if p := recover(); p != nil {
					err = p.(error)
				}
			}()
			err = Write(path, nil, []Tensor{large, last})
		}()
		if !errors.Is(err, broken) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: the file was left (%v)", name, err)
		}
	}
}

// edit is a small file with the bytes at some place replaced.
type edit struct {
	old, new []byte
	want     string // a part of the error
}

func le(v any) []byte { b, _ := binary.Append(nil, binary.LittleEndian, v); return b }

func smallFile(t testing.TB) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "small.gguf")
	fill := func(dst []byte) error { return nil }
	err := Write(path, []KV{{"general.name", "n"}, {"list", []string{"x", "y"}}, {"flag", true}, {"general.alignmenT", uint32(32)}},
		[]Tensor{{Info{"first", F32, []int{3, 5}}, fill}, {Info{"other", Q8_0, []int{7, 64}}, fill}})
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestDamagedFiles(t *testing.T) {
	small := smallFile(t)
	text := func(s string) []byte { return append(le(uint64(len(s))), s...) }
	shape := slices.Concat(text("first"), le(uint32(2)))
	tests := map[string]edit{
		"magic":              {[]byte("GGUF"), []byte("GGML"), `starts with "GGML"`},
		"lfs":                {small[:8], []byte("version "), "git lfs pull"},
		"version":            {small[4:8], le(uint32(1)), "version 1 of GGUF"},
		"big endian":         {small[4:8], []byte{0, 0, 0, 3}, "big-endian"},
		"tensors":            {small[8:16], le(uint64(1 << 60)), "claims 1152921504606846976 tensors"},
		"keys":               {small[16:24], le(uint64(1 << 60)), "claims 1152921504606846976 keys"},
		"one key too many":   {small[16:24], le(uint64(5)), "not a valid GGUF file"},
		"key twice":          {text("flag"), text("list"), `"list" occurs twice`},
		"long key":           {text("flag"), le(uint64(1 << 40)), "1099511627776 bytes"},
		"type of a value":    {append(text("flag"), le(uint32(7))...), append(text("flag"), le(uint32(99))...), `key "flag": a value of the unknown type 99`},
		"truth value":        {append(text("flag"), 7, 0, 0, 0, 1), append(text("flag"), 7, 0, 0, 0, 2), `"flag": a truth value of 2`},
		"long text":          {text("n"), append(le(uint64(1<<30)), 'n'), "truncated inside its header, at key 1 of 4"},
		"longer text":        {text("n"), append(le(uint64(1<<30+1)), 'n'), `key "general.name": a text of 1073741825 bytes`},
		"long list":          {append(le(uint32(8)), le(uint64(2))...), append(le(uint32(8)), le(uint64(1<<30))...), "truncated inside its header, at key 2 of 4"},
		"longer list":        {append(le(uint32(8)), le(uint64(2))...), append(le(uint32(8)), le(uint64(1<<62))...), `key "list": a list of 4611686018427387904`},
		"list of lists":      {append(le(uint32(9)), 8), append(le(uint32(9)), 9), "array of arrays"},
		"alignment":          {[]byte("alignmenT\x04\x00\x00\x00\x20"), []byte("alignment\x04\x00\x00\x00\x21"), "general.alignment is 33"},
		"no alignment":       {[]byte("alignmenT\x04\x00\x00\x00\x20"), []byte("alignment\x04\x00\x00\x00\x00"), "general.alignment is 0"},
		"alignment's type":   {[]byte("alignmenT\x04"), []byte("alignment\x05"), "general.alignment is 32"},
		"tensor twice":       {text("other"), text("first"), `tensor "first" occurs twice`},
		"dimensions":         {shape, slices.Concat(text("first"), le(uint32(5))), `"first" has 5 dimensions`},
		"no dimensions":      {shape, slices.Concat(text("first"), le(uint32(0))), "not a valid GGUF file"},
		"empty dimension":    {append(shape, le(uint64(5))...), append(shape, le(uint64(0))...), "impossible shape [3 0]"},
		"huge dimension":     {append(shape, le(uint64(5))...), append(shape, le(uint64(1<<63))...), "a dimension of 9223372036854775808"},
		"overflow":           {append(shape, le([]uint64{5, 3})...), append(shape, le([]uint64{1 << 40, 1 << 40})...), "impossible shape"},
		"overflow to fit":    {append(shape, le([]uint64{5, 3})...), append(shape, le([]uint64{1 << 32, 1<<32 + 1})...), "impossible shape"},
		"larger than it":     {append(shape, le([]uint64{5, 3})...), append(shape, le([]uint64{5, 1 << 40})...), `tensor "first" needs`},
		"rows of blocks":     {append(text("other"), append(le(uint32(2)), le(uint64(64))...)...), append(text("other"), append(le(uint32(2)), le(uint64(65))...)...), "aren't whole blocks of Q8_0"},
		"type":               {append(le(uint64(3)), le(uint32(0))...), append(le(uint64(3)), le(uint32(77))...), `tensor "first" has the unknown type 77`},
		"offset":             {append(le(uint32(8)), le(uint64(64))...), append(le(uint32(8)), le(uint64(32))...), `tensor "other" starts at 32 of the data, not at 64`},
		"offset outside":     {append(le(uint32(8)), le(uint64(64))...), append(le(uint32(8)), le(uint64(1<<63))...), "outside of the file"},
		"misaligned offset":  {append(le(uint32(8)), le(uint64(64))...), append(le(uint32(8)), le(uint64(65))...), "starts at 65"},
		"cut in the data":    {small, small[:len(small)-64], `truncated: tensor "other" needs 476 bytes and 416 are there`},
		"cut before it":      {small, small[:len(small)-512-64], "truncated"},
		"cut in the tensors": {small, small[:len(small)-512-128], "truncated inside its header, at tensor"},
		"cut in the counts":  {small, small[:20], "truncated: it has 20 bytes"},
		"empty":              {small, nil, "truncated: it has 0 bytes"},
	}
	for name, e := range tests {
		t.Run(name, func(t *testing.T) {
			if !bytes.Contains(small, e.old) {
				t.Fatal("the file has nothing to replace")
			}
			path := filepath.Join(t.TempDir(), "bad.gguf")
			if err := os.WriteFile(path, bytes.Replace(small, e.old, e.new, 1), 0o666); err != nil {
				t.Fatal(err)
			}
			f, err := Open(path)
			if err == nil {
				f.Close()
			}
			if err == nil || !strings.Contains(err.Error(), e.want) || !strings.HasPrefix(err.Error(), path+": ") || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %v, want one about %q", err, e.want)
			}
		})
	}
	if _, err := Open(filepath.Join(t.TempDir(), "none.gguf")); err == nil {
		t.Error("a missing file was opened")
	}
	if _, err := Open(t.TempDir()); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a directory: %v", err)
	}
}

// Every cut of a file is an error, and none a panic.
func TestCutAnywhere(t *testing.T) {
	small := smallFile(t)
	for n := range len(small) - 4 { // the last tensor ends 4 bytes before its padding
		if _, err := parse(bytes.NewReader(small[:n]), int64(n)); err == nil {
			t.Fatalf("a file cut to %d of %d bytes was accepted", n, len(small))
		}
	}
}

// A large file with a damaged length takes no memory for what isn't in it.
func TestDamagedLengthInLargeFile(t *testing.T) {
	small := smallFile(t)
	damaged := bytes.Replace(small, append(le(uint32(8)), le(uint64(2))...), append(le(uint32(8)), le(uint64(1<<30))...), 1)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := parse(bytes.NewReader(damaged), 40<<30); err == nil {
		t.Error("it was accepted")
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 16<<20 {
		t.Errorf("%d bytes were allocated for a file of %d", n, len(damaged))
	}
}

// FuzzParse finds panics, and descriptions of data that isn't in the file.
func FuzzParse(f *testing.F) {
	f.Add(smallFile(f))
	golden, err := os.ReadFile("testdata/quants.gguf")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(golden[:1<<12])
	f.Fuzz(func(t *testing.T, raw []byte) {
		h, err := parse(bytes.NewReader(raw), int64(len(raw)))
		if err != nil {
			return
		}
		for _, e := range h.tensors {
			if e.size != e.Bytes() || e.offset < 0 || h.data+e.offset+e.size > int64(len(raw)) {
				t.Fatalf("%+v is outside of the %d bytes", e, len(raw))
			}
		}
	})
}

func BenchmarkDequantize(b *testing.B) {
	for format := range decoders {
		b.Run(format.String(), func(b *testing.B) {
			values := make([]float32, 1<<22)
			raw := make([]byte, len(values)/format.Block()*int(layouts[format].bytes))
			for i := range raw {
				raw[i] = byte(i * i >> 3)
			}
			b.SetBytes(int64(4 * len(values)))
			for b.Loop() {
				if err := Dequantize(values, format, raw); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
