package device

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gomlx/gomlx/core/graph"

	"github.com/longform-go/longform/internal/cache"
)

// Tests compile what they run, unless they are about the cache.
func TestMain(m *testing.M) {
	os.Setenv("LONGFORM_CACHE", "off")
	os.Exit(m.Run())
}

// reopen opens the CPU with the cache in dir.
func reopen(t *testing.T, dir string) *Device {
	t.Helper()
	t.Setenv("LONGFORM_CACHE", dir)
	return open(t, CPU)
}

// programs are the files of compiled programs in a cache, without the small one about the plugin.
func programs(t *testing.T, dir string) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(dir, "programs", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(all, func(path string) bool {
		info, err := os.Stat(path)
		return err != nil || info.Size() < 1000
	})
}

// outcome runs step three times and returns everything that it computes.
func outcome(t *testing.T, d *Device, p *Program) [][]float32 {
	t.Helper()
	state := func(first float32) []float32 {
		v := make([]float32, 64*32)
		for i := range v {
			v[i] = first + 1/float32(i+3)
		}
		return v
	}
	rate := upload(t, d, []float32{0.1})
	in := []*Buffer{upload(t, d, state(1), 64, 32), rate, upload(t, d, state(2), 64, 32), upload(t, d, state(3), 64, 32)}
	var sums []float32
	for range 3 {
		before := in[0]
		out := run(t, p, in...)
		fails(t, before.Download(make([]byte, 4*64*32)), "consumed")
		sums = append(sums, values(t, out[0])...)
		in = []*Buffer{out[2], rate, out[3], out[1]}
	}
	return [][]float32{sums, values(t, in[0]), values(t, in[2]), values(t, in[3])}
}

// A program from the cache does and tells the same as when it was compiled.
func TestCachedProgram(t *testing.T) {
	dir := t.TempDir()
	d := reopen(t, dir)
	first := step(t, d)
	if first.Cached() || len(programs(t, dir)) != 1 {
		t.Fatalf("cached %v, files %q; want one that was just written", first.Cached(), programs(t, dir))
	}
	want, wantMemory := outcome(t, d, first), first.Memory()
	wantText, err := first.Optimized()
	if err != nil {
		t.Fatal(err)
	}
	for _, other := range []*Device{d, reopen(t, dir)} {
		p := step(t, other)
		if !p.Cached() || len(programs(t, dir)) != 1 {
			t.Fatalf("cached %v, files %q; want the one there", p.Cached(), programs(t, dir))
		}
		if got := outcome(t, other, p); !slices.EqualFunc(got, want, slices.Equal) {
			t.Error("the results differ")
		}
		if m := p.Memory(); !m.Known || m.Alias != 3*64*32*4 || m != wantMemory {
			t.Errorf("memory is %+v, was %+v", m, wantMemory)
		}
		if n, _, err := p.Copies(); err != nil || n != 0 {
			t.Errorf("%d copies, error %v; want none", n, err)
		}
		if text, err := p.Optimized(); err != nil || text != wantText {
			t.Errorf("optimized program is %q, error %v; was %q", text, err, wantText)
		}
	}
}

func TestDamagedProgramIsRebuilt(t *testing.T) {
	dir := t.TempDir()
	d := reopen(t, dir)
	want := outcome(t, d, step(t, d))
	path := programs(t, dir)[0]
	sound, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	key := cache.Key(sound[8:])
	header := len(sound) - len(mustGet(t, d.cache, key))
	for name, damage := range map[string]func() []byte{
		"empty":     func() []byte { return nil },
		"cut short": func() []byte { return sound[:len(sound)/2] },
		"one bit": func() []byte {
			b := slices.Clone(sound)
			b[len(b)-100] ^= 4
			return b
		},
		"another format":  func() []byte { return append([]byte("longfca0"), sound[8:]...) },
		"another program": func() []byte { return slices.Concat(sound[:8], bytes.Repeat([]byte{7}, len(key)), sound[8+len(key):]) },
		"what the plugin refuses": func() []byte {
			if err := d.cache.Put(key, sound[header+10:]); err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			return b
		},
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(path, damage(), 0o600); err != nil {
				t.Fatal(err)
			}
			p := step(t, d)
			if p.Cached() {
				t.Error("it was loaded")
			}
			if got := outcome(t, d, p); !slices.EqualFunc(got, want, slices.Equal) {
				t.Error("the results differ")
			}
			if !step(t, d).Cached() {
				t.Error("it wasn't replaced")
			}
		})
	}
}

func mustGet(t *testing.T, c *cache.Cache, key cache.Key) []byte {
	t.Helper()
	program, ok := c.Get(key)
	if !ok {
		t.Fatalf("no program %x", key)
	}
	return program
}

// What the compiler looks at tells programs apart.
func TestCacheKey(t *testing.T) {
	dir := t.TempDir()
	d := reopen(t, dir)
	compile := func(factor float64, becomes map[int]int) bool {
		p, err := d.Compile("p", []Input{{"x", float32s(8)}}, becomes, func(g *graph.Graph, in []*graph.Node) []*graph.Node {
			return []*graph.Node{graph.MulScalar(in[0], factor)}
		})
		if err != nil {
			t.Fatal(err)
		}
		defer p.Finalize()
		return p.Cached()
	}
	for _, c := range []struct {
		what    string
		factor  float64
		becomes map[int]int
		flags   string
		cached  bool
	}{
		{"the first", 2, nil, "", false},
		{"the same", 2, nil, "", true},
		{"another constant", 3, nil, "", false},
		{"another aliasing", 2, map[int]int{0: 0}, "", false},
		{"other flags", 2, nil, "--xla_cpu_enable_fast_math=false", false},
		{"the same again", 2, nil, "", true},
	} {
		t.Setenv("XLA_FLAGS", c.flags)
		if c.flags == "" {
			os.Unsetenv("XLA_FLAGS")
		}
		if got := compile(c.factor, c.becomes); got != c.cached {
			t.Errorf("%s: cached %v, want %v", c.what, got, c.cached)
		}
	}
}

// Without a place to keep programs they are compiled as ever, and the device says why.
func TestNoCache(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for value, words := range map[string][]string{
		"off":                        nil,
		"programs":                   {"LONGFORM_CACHE=programs", "absolute"},
		filepath.Join(file, "below"): {"aren't kept", file, "LONGFORM_CACHE"},
	} {
		d := reopen(t, value)
		if words == nil && len(d.Notes()) > 0 || words != nil && len(d.Notes()) != 1 {
			t.Errorf("%s: notes %q", value, d.Notes())
		}
		for _, w := range words {
			if !strings.Contains(d.Notes()[0], w) {
				t.Errorf("%s: note %q doesn't tell %q", value, d.Notes()[0], w)
			}
		}
		if p := step(t, d); p.Cached() {
			t.Errorf("%s: a program came from nowhere", value)
		}
	}
	// One that vanishes or fills up later is no error either.
	dir := filepath.Join(t.TempDir(), "cache")
	d := reopen(t, dir)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	step(t, d)
}
