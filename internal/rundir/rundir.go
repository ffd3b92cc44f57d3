// Package rundir keeps what a person sees of a run: the names of the files in
// its directory, the log of its metrics, the plots of them, and the lines or
// the progress bar on the screen.
package rundir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Dir is the path of a run directory:
//
//	config.yaml      the resolved configuration
//	metrics.jsonl    one object a logged step
//	checkpoints/     one directory a checkpoint, and latest
//	plots/           loss.png and lr.png
//	tensorboard/     event files, where the configuration asks for them
//	wandb/           an offline run of Weights & Biases, likewise
//	mlflow.json      the MLflow run that this one is, likewise
type Dir string

// Config is the path of the resolved configuration.
func (d Dir) Config() string { return d.join("config.yaml") }

// Metrics is the path of the metrics log.
func (d Dir) Metrics() string { return d.join("metrics.jsonl") }

// Checkpoints is the path of the directory that holds the checkpoints.
func (d Dir) Checkpoints() string { return d.join("checkpoints") }

// Plots is the path of the directory that holds the plots.
func (d Dir) Plots() string { return d.join("plots") }

// TensorBoard is the path of the directory that holds the event files.
func (d Dir) TensorBoard() string { return d.join("tensorboard") }

// WandB is the path of the directory that holds the Weights & Biases run.
func (d Dir) WandB() string { return d.join("wandb") }

// MLflow is the path of the file that names the run on the MLflow server.
func (d Dir) MLflow() string { return d.join("mlflow.json") }

func (d Dir) join(name string) string { return filepath.Join(string(d), name) }

// Create makes the directory of a new run, with its parents, and tries to
// write there, so that a run that couldn't keep its results fails before
// anything heavy starts. A directory that holds a run already is refused;
// an empty one, or one with unrelated files, is taken as it is.
func Create(path string) (Dir, error) {
	if path == "" {
		return "", errors.New("no run directory given; set run.dir")
	}
	d := Dir(path)
	info, err := os.Stat(path)
	switch {
	case err == nil && !info.IsDir():
		return "", fmt.Errorf("run directory %s is a file; choose another run.dir", path)
	case err == nil:
		if err := d.vacant(); err != nil {
			return "", err
		}
		return d, d.probe()
	case !errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("cannot use run directory %s: %w; choose another run.dir", path, cause(err))
	}
	if err := os.MkdirAll(path, 0o755); err != nil {
		return "", fmt.Errorf("cannot create run directory %s: %w; choose another run.dir", path, cause(err))
	}
	if err := d.probe(); err != nil {
		os.Remove(path)
		return "", err
	}
	return d, nil
}

// Open is the directory of a run to be resumed. It has to hold a
// configuration and be writable.
func Open(path string) (Dir, error) {
	d := Dir(path)
	if !exists(d.Config()) {
		return "", fmt.Errorf("no run in %s: it has no config.yaml; give a directory that train run has made", path)
	}
	return d, d.probe()
}

// WriteConfig keeps the resolved configuration.
func (d Dir) WriteConfig(yaml []byte) error {
	return Replace(d.Config(), yaml)
}

// Replace writes a file so that a reader sees either the old content or the new.
func Replace(path string, content []byte) error {
	err := replace(path, func(f *os.File) error { _, err := f.Write(content); return err })
	if err != nil {
		return fmt.Errorf("write %s: %w", path, cause(err))
	}
	return nil
}

// vacant reports the run that d holds, if it does.
func (d Dir) vacant() error {
	switch {
	case exists(filepath.Join(d.Checkpoints(), "latest")):
		return fmt.Errorf("run directory %s already holds a run; resume it with: train resume %s, or choose another run.dir", d, d)
	case exists(d.Config()), exists(d.Metrics()), exists(d.Checkpoints()):
		return fmt.Errorf("run directory %s already holds a run that has no checkpoint to resume from; delete it, or choose another run.dir", d)
	}
	return nil
}

// probe writes a file and removes it: permission bits alone tell neither a
// read-only mount nor a full disk.
func (d Dir) probe() error {
	f, err := os.CreateTemp(string(d), ".probe-*")
	if err == nil {
		_, err = f.WriteString("writable\n")
		err = errors.Join(err, f.Close(), os.Remove(f.Name()))
	}
	if err != nil {
		return fmt.Errorf("cannot write to run directory %s: %w; choose another run.dir", d, cause(err))
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// cause strips the operation and the path, which the caller's message has.
func cause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// replace writes a file beside path, syncs it and renames it to path, so that
// a reader sees either the old content or the new.
func replace(path string, write func(*os.File) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	if err = errors.Join(f.Chmod(0o644), write(f), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
