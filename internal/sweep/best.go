package sweep

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/longform-go/longform/internal/sweep/journal"
)

// ErrNone says that no trial is complete yet.
var ErrNone = errors.New("no trial is complete yet")

// WriteBest writes best.yaml: the recipe of the best of these trials, to be run again in
// a directory of its own, best, beside the trials. Where none is complete it is ErrNone.
func (s *Study) WriteBest(trials []journal.Trial) error {
	t, found := s.Best(trials)
	if !found {
		return ErrNone
	}
	config, err := s.recipe(t)
	if err != nil {
		return fmt.Errorf("best trial %d: %w", t.Number, err)
	}
	config.Run.Dir = filepath.Join(string(s.Dir), "best")
	text, err := config.YAML()
	if err != nil {
		return err
	}
	head := fmt.Sprintf("# train run -c %s\n#\n# Trial %d of sweep %s, %s %.6g:\n", s.Dir.Best(), t.Number, s.Config.Name, s.Config.Metric.Name, *t.Value)
	for _, setting := range s.Settings(t) {
		head += "#   " + setting + "\n"
	}
	return write(s.Dir.Best(), append([]byte(head), text...))
}
