package evaluation

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/longform-go/longform/data"
	"github.com/longform-go/longform/internal/device"
	"github.com/longform-go/longform/internal/device/devicetest"
	"github.com/longform-go/longform/internal/pretrained"
	"github.com/longform-go/longform/internal/pretrained/pretrainedtest"
)

// reference is a tiny model with records that transformers has scored.
type reference struct {
	parameters *pretrained.Parameters
	scorer     *Scorer
	examples   []data.Example
	records    []record
}

type record struct {
	Tokens  int
	MeanNLL float64 `json:"mean_nll"`
	Inputs  []int32 `json:"input_ids"`
	Labels  []int32
}

func open(t *testing.T, d *device.Device, family string) reference {
	t.Helper()
	dir := filepath.Join("../../models/testdata", family+"-tiny")
	raw, err := os.ReadFile(filepath.Join(dir, "expected.json"))
	if err != nil {
		t.Fatal(err)
	}
	var expected struct{ Score []record }
	if err := json.Unmarshal(raw, &expected); err != nil {
		t.Fatal(err)
	}
	p := pretrainedtest.Load(t, d, dir)
	r := reference{parameters: p, scorer: NewScorer(d, p.Spec), records: expected.Score}
	t.Cleanup(r.scorer.Close)
	for i, record := range r.records {
		e := data.Example{Input: record.Inputs, Labels: record.Labels, Record: i}
		if !p.Config.EncoderDecoder() { // ours say what follows a position
			e.Labels = append(append([]int32{}, record.Labels[1:]...), data.NoLoss)
		}
		r.examples = append(r.examples, e)
	}
	return r
}

// batches are the records in file order.
func (r reference) batches(t *testing.T, c data.LoaderConfig) []data.Batch {
	t.Helper()
	c.Order, c.EncoderDecoder = data.OrderFile, r.parameters.Config.EncoderDecoder()
	l, err := data.NewLoader(r.examples, c)
	if err != nil {
		t.Fatal(err)
	}
	var all []data.Batch
	for range l.BatchesPerEpoch() {
		all = append(all, l.Next())
	}
	return all
}

func near(got, want float64) bool { return math.Abs(got-want) <= 1e-4*math.Abs(want) }

// Every record has transformers' likelihood, and the mean over all of them weighs each target alike: the empty rows that
// fill the last batch count for nothing.
func TestLosses(t *testing.T) {
	devicetest.Each(t, func(t *testing.T, d *device.Device) {
		for _, family := range []string{"llama", "opt", "t5"} {
			t.Run(family, func(t *testing.T) {
				r := open(t, d, family)
				total, targets := 0.0, int64(0)
				for _, record := range r.records {
					total += record.MeanNLL * float64(record.Tokens)
					targets += int64(record.Tokens)
				}
				batches := r.batches(t, data.LoaderConfig{BatchSize: 3, Packing: data.PackingNone, Buckets: []int{192}})
				for i, b := range batches {
					sums, counts, err := r.scorer.Score(r.parameters.Values, b)
					if err != nil {
						t.Fatal(err)
					}
					for row := range sums {
						if at := 3*i + row; at >= len(r.records) {
							if sums[row] != 0 || counts[row] != 0 {
								t.Errorf("an empty row has loss %v over %v targets", sums[row], counts[row])
							}
						} else if want := r.records[at]; int(counts[row]) != want.Tokens || !near(float64(sums[row]/counts[row]), want.MeanNLL) {
							t.Errorf("record %d: %v over %v targets, transformers %v over %d", at, sums[row]/counts[row], counts[row], want.MeanNLL, want.Tokens)
						}
					}
				}
				mean, count, err := r.scorer.MeanLoss(r.parameters.Values, batches)
				if err != nil {
					t.Fatal(err)
				}
				if count != targets || !near(mean, total/float64(targets)) {
					t.Errorf("mean %v over %d targets, transformers %v over %d", mean, count, total/float64(targets), targets)
				}
				if len(r.scorer.programs) != 1 {
					t.Errorf("%d programs were compiled for one shape", len(r.scorer.programs))
				}
			})
		}
	})
}

// Behind a barrier documents share a row as if each were alone: the row's loss is the sum of theirs. Without the barrier
// it isn't.
func TestBarrier(t *testing.T) {
	devicetest.Each(t, func(t *testing.T, d *device.Device) {
		for _, family := range []string{"llama", "opt"} {
			t.Run(family, func(t *testing.T) {
				r := open(t, d, family)
				packed := false
				for _, b := range r.batches(t, data.LoaderConfig{BatchSize: 2, Packing: data.PackingBarrier, BlockLength: 256}) {
					sums, _, err := r.scorer.Score(r.parameters.Values, b)
					if err != nil {
						t.Fatal(err)
					}
					got, want := float64(sums[0]+sums[1]), 0.0
					for _, i := range b.Records {
						want += r.records[i].MeanNLL * float64(r.records[i].Tokens)
					}
					if !near(got, want) {
						t.Errorf("records %v: loss %v, one by one %v", b.Records, got, want)
					}
					packed = packed || len(b.Records) > 2
					if d.Kind() == device.Go && len(b.Records) > 2 {
						b.Segments, b.Positions = nil, nil
						if sums, _, err = r.scorer.Score(r.parameters.Values, b); err != nil {
							t.Fatal(err)
						}
						if near(float64(sums[0]+sums[1]), want) {
							t.Errorf("records %v: the same loss %v without the barrier", b.Records, want)
						}
					}
				}
				if !packed {
					t.Error("no row has two documents")
				}
			})
		}
	})
}
