package modelcard

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/longform-go/longform/configs"
	"github.com/longform-go/longform/internal/rundir"
)

// Run is the training of a model.
type Run struct {
	Config configs.Config
	At     int          // the model's step
	Last   *rundir.Step // the last that is logged up to it; nil if none is
	Eval   *rundir.Eval // likewise
}

// ReadRun reads about the run that wrote a checkpoint. It is nil for a directory that isn't a run's checkpoint.
func ReadRun(checkpoint string) (*Run, error) {
	dir, ok := runOf(checkpoint)
	if !ok {
		return nil, nil
	}
	step, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(checkpoint), "step-"))
	if err != nil {
		return nil, nil
	}
	r := &Run{At: step}
	if r.Config, err = configs.Load(dir.Config(), nil); err != nil {
		return nil, err
	}
	if err := r.locate(dir); err != nil {
		return nil, err
	}
	if !exists(dir.Metrics()) {
		return r, nil
	}
	steps, evals, err := rundir.ReadMetrics(dir.Metrics())
	if err != nil {
		return nil, err
	}
	for i, s := range steps {
		if s.Step <= step {
			r.Last = &steps[i]
		}
	}
	for i, e := range evals {
		if e.Step <= step {
			r.Eval = &evals[i]
		}
	}
	return r, nil
}

// locate makes the recipe's paths to what is there absolute, lest they be taken for names of the hub. They count from where the
// run was started, which its directory tells as far as run.dir is relative.
func (r *Run) locate(dir rundir.Dir) error {
	path, err := filepath.Abs(string(dir))
	if err != nil {
		return err
	}
	start, ok := strings.CutSuffix(path, string(filepath.Separator)+filepath.Clean(r.Config.Run.Dir))
	if !ok {
		return nil
	}
	locate := func(name string) string {
		bare, _, _ := strings.Cut(name, ":") // of a split
		if bare == "" || bare == "hub" || !exists(filepath.Join(start, bare)) {
			return name
		}
		return filepath.Join(start, name)
	}
	r.Config.Model.Path = locate(r.Config.Model.Path)
	for _, sources := range [][]string{r.Config.Data.Train, r.Config.Data.Validation} {
		for i, source := range sources {
			sources[i] = locate(source)
		}
	}
	return nil
}

// runOf is the run that a checkpoint lies in.
func runOf(checkpoint string) (rundir.Dir, bool) {
	checkpoints := filepath.Dir(filepath.Clean(checkpoint))
	dir := rundir.Dir(filepath.Dir(checkpoints))
	return dir, checkpoints == filepath.Clean(dir.Checkpoints()) && exists(dir.Config())
}

// setting is a line of the recipe.
type setting struct {
	Key   string
	Value any
}

// settings are those of a recipe that make the model what it is, without those that are off.
func settings(c configs.Config) []setting {
	var found []setting
	for key, value := range c.All() {
		section, name, _ := strings.Cut(key, ".")
		switch section {
		case "model", "optim", "schedule":
		case "run":
			if name != "seed" && name != "batch_size" && name != "on_nonfinite" {
				continue
			}
		default:
			continue
		}
		switch {
		case key == "model.path" || key == "model.tokenizer":
		case slices.Contains([]string{"", "<nil>", "0", "false", "none", "[]"}, fmt.Sprint(value)):
		case strings.HasPrefix(key, "model.lora.") && !c.Model.LoRA.Enabled:
		default:
			found = append(found, setting{key, value})
		}
	}
	return found
}

// sources are data sets, shown without the directories that they lie in.
func sources(names []string) string {
	var all []string
	for _, name := range names {
		all = append(all, "`"+shownData(name)+"`")
	}
	return strings.Join(all, ", ")
}
