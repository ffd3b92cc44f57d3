package modelcard

import (
	"fmt"

	"github.com/longform-go/longform/internal/testset/scores"
)

// ReadScores reads what infer evaluate measured of a model, which is named as pretrained.Source.Name has it, on a test set.
// Other models' figures are left out, and so is where the data lie.
func ReadScores(path, model string) (*scores.Report, error) {
	r, err := scores.Read(path)
	if err != nil {
		return nil, err
	}
	if r, err = r.Of(model); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	r.Data, r.Models[0].Name = shownData(r.Data), "the model"
	return r, nil
}

// figure is one of a report of one model.
type figure struct {
	metric string
	Label  string // which says of METEOR what it is
	scores.Figure
}

// figures are those of a report of one model that are numbers.
func figures(r *scores.Report) []figure {
	var found []figure
	for _, name := range scores.Metrics {
		if f, ok := r.Models[0].All.Figures[name]; ok && !f.Value.IsNone() {
			found = append(found, figure{name, r.Label(name), f})
		}
	}
	return found
}
