package evaluation

import (
	"fmt"
	"math"

	"github.com/longform-go/longform/data"
	"github.com/longform-go/longform/internal/device"
)

// Likelihood is what a model makes of an example: the negative log-likelihood of its labels, in nats, and how many there are.
type Likelihood struct {
	NLL     float64
	Targets int
}

// Likelihoods scores examples, which f made, at most rows at once. The result has their order. A likelihood that is no number is
// an error.
func (s *Scorer) Likelihoods(parameters []*device.Buffer, examples []data.Example, f data.Format, rows int) ([]Likelihood, error) {
	numbered := make([]data.Example, len(examples)) // batches name them by these numbers
	for i, e := range examples {
		e.Record = i
		numbered[i] = e
	}
	loader, err := data.NewLoader(numbered, data.LoaderConfig{
		BatchSize: min(rows, len(examples)), Packing: data.PackingNone, Order: data.OrderFile, Pad: f.Pad, EncoderDecoder: f.EncoderDecoder,
	})
	if err != nil {
		return nil, err
	}
	all := make([]Likelihood, len(examples))
	for range loader.BatchesPerEpoch() {
		b := loader.Next()
		sums, counts, err := s.Score(parameters, b)
		if err != nil {
			return nil, err
		}
		for row, i := range b.Records {
			l := Likelihood{float64(sums[row]), int(counts[row])}
			if math.IsNaN(l.NLL) || math.IsInf(l.NLL, 0) {
				return nil, fmt.Errorf("record %d: the model's log-likelihood of it is %v; look at its weights", examples[i].Record+1, -l.NLL)
			}
			all[i] = l
		}
	}
	return all, nil
}
