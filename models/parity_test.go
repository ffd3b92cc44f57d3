package models_test

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	. "github.com/gomlx/gomlx/core/graph"

	"github.com/longform-go/longform/data"
	"github.com/longform-go/longform/internal/decoding"
	"github.com/longform-go/longform/internal/device"
	"github.com/longform-go/longform/internal/device/devicetest"
	"github.com/longform-go/longform/internal/evaluation"
	"github.com/longform-go/longform/internal/feed"
	"github.com/longform-go/longform/internal/pretrained"
	"github.com/longform-go/longform/internal/pretrained/pretrainedtest"
	"github.com/longform-go/longform/models/blocks"
)

// expected is what transformers computed from a checkpoint (testdata/make_family.py).
type expected struct {
	InputIDs      [][]int32   `json:"input_ids"`
	AttentionMask [][]int32   `json:"attention_mask"`
	Labels        [][]int32   `json:"labels"`
	Loss          float64     `json:"loss"`
	RowLosses     []float64   `json:"row_losses"`
	LogitsLast    [][]float32 `json:"logits_last"`
	Generate      [][]int32   `json:"generate"`
}

// batch is the padded batch of the expectations, with more padding where room is longer.
func (e expected) batch(encoderDecoder bool, more int) data.Batch {
	b := data.Batch{Rows: len(e.InputIDs), Length: len(e.InputIDs[0]) + more, TargetLength: len(e.Labels[0]) + more}
	for r, ids := range e.InputIDs {
		length := 0
		for _, m := range e.AttentionMask[r] {
			length += int(m)
		}
		b.Lengths = append(b.Lengths, int32(length))
		b.Inputs = append(append(b.Inputs, ids...), make([]int32, more)...)
		labels := e.Labels[r]
		if !encoderDecoder { // ours say what follows a position
			labels = append(labels[1:len(labels):len(labels)], -100)
		}
		b.Labels = append(b.Labels, labels...)
		for range more {
			b.Labels = append(b.Labels, -100)
		}
	}
	return b
}

func near(got, want, relative float64) bool {
	return math.Abs(got-want) <= relative*math.Max(math.Abs(want), 1)
}

// Losses to 1e-4, logits to 1e-3 and greedy tokens equal to those of transformers, for every member of the families.
func TestParity(t *testing.T) {
	files, _ := filepath.Glob("testdata/*/expected.json")
	if len(files) == 0 {
		t.Fatal("no references in testdata")
	}
	devicetest.Each(t, func(t *testing.T, d *device.Device) {
		for _, file := range files {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Contains(raw, []byte(`"attention_mask"`)) {
				continue // a reference with texts, which the tests of the command line read
			}
			var e expected
			if err := json.Unmarshal(raw, &e); err != nil {
				t.Fatal(err)
			}
			dir := filepath.Dir(file)
			t.Run(filepath.Base(dir), func(t *testing.T) {
				p := pretrainedtest.Load(t, d, dir)
				checkLosses(t, d, p, e)
				checkLogits(t, d, p, e)
				checkGreedy(t, d, p, e)
			})
		}
	})
}

func checkLosses(t *testing.T, d *device.Device, p *pretrained.Parameters, e expected) {
	scorer := evaluation.NewScorer(d, p.Spec)
	defer scorer.Close()
	for _, more := range []int{0, 5} {
		sums, counts, err := scorer.Score(p.Values, e.batch(p.Config.EncoderDecoder(), more))
		if err != nil {
			t.Fatal(err)
		}
		var sum, count float64
		for r := range sums {
			sum, count = sum+float64(sums[r]), count+float64(counts[r])
			if got := float64(sums[r] / counts[r]); !near(got, e.RowLosses[r], 1e-4) {
				t.Errorf("row %d with %d more padding: loss %.6f, transformers %.6f", r, more, got, e.RowLosses[r])
			}
		}
		if got := sum / count; !near(got, e.Loss, 1e-4) {
			t.Errorf("batch with %d more padding: loss %.6f, transformers %.6f", more, got, e.Loss)
		}
	}
}

func checkLogits(t *testing.T, d *device.Device, p *pretrained.Parameters, e expected) {
	b := e.batch(p.Config.EncoderDecoder(), 0)
	shape := feed.ShapeOf(b)
	n := len(p.Values)
	program, err := d.Compile("logits", append(p.Inputs(), shape.Inputs()...), nil, func(_ *Graph, in []*Node) []*Node {
		m := p.Model(in[:n])
		return []*Node{blocks.Logits(m.Head(m.Hidden(shape.Batch(in[n:]), nil)))}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer program.Finalize()
	inputs, err := feed.Upload(d, b)
	if err != nil {
		t.Fatal(err)
	}
	defer feed.Free(inputs)
	out, err := program.Run(slices.Concat(p.Values, inputs))
	if err != nil {
		t.Fatal(err)
	}
	defer feed.Free(out)
	logits, err := out[0].Float32s()
	if err != nil {
		t.Fatal(err)
	}
	dims := out[0].Shape().Dimensions
	for r, want := range e.LogitsLast {
		last := int(b.Lengths[r]) - 1
		if p.Config.EncoderDecoder() {
			last = 0
			for i := range b.TargetLength {
				if b.Labels[r*b.TargetLength+i] != -100 {
					last = i
				}
			}
		}
		for i, w := range want {
			if got := logits[(r*dims[1]+last)*dims[2]+i]; !near(float64(got), float64(w), 1e-3) {
				t.Errorf("row %d, logit %d of the last position: %.5f, transformers %.5f", r, i, got, w)
			}
		}
	}
}

func checkGreedy(t *testing.T, d *device.Device, p *pretrained.Parameters, e expected) {
	var prompts [][]int32
	for r, ids := range e.InputIDs {
		length := 0
		for _, m := range e.AttentionMask[r] {
			length += int(m)
		}
		prompts = append(prompts, ids[:length])
	}
	g := decoding.New(d, p)
	defer g.Close()
	texts, err := g.Generate(prompts, decoding.Options{MaxNewTokens: 12, EOS: p.Config.Tokens().EOS})
	if err != nil {
		t.Fatal(err)
	}
	for r, want := range e.Generate {
		if !slices.Equal(texts[r].IDs, want) {
			t.Errorf("row %d: greedy %v, transformers %v", r, texts[r].IDs, want)
		}
	}
}
