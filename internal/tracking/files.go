package tracking

import "fmt"

// files is a tracker that is a file in the run's directory.
type files struct {
	name   string // for a person
	format format
	warn   func(string)

	opened bool
	failed bool // and told so
}

// format writes the files of one tool.
type format interface {
	// open begins a file, or goes on with one, of a run whose log is there up to the step that it resumes after.
	open() error
	write(point) error
	close(Outcome) error
}

func openFiles(name string, f format, after int, warn func(string)) *files {
	t := &files{name: name, format: f, warn: warn}
	if after > 0 {
		t.do(t.open)
	}
	return t
}

func (t *files) open() error {
	if t.opened {
		return nil
	}
	t.opened = true
	return t.format.open()
}

func (t *files) log(p point) {
	t.do(t.open)
	t.do(func() error { return t.format.write(p) })
}

func (t *files) close(o Outcome) {
	if t.opened {
		t.do(func() error { return t.format.close(o) })
	}
}

// do calls f unless something went wrong before.
func (t *files) do(f func() error) {
	if t.failed {
		return
	}
	if err := f(); err != nil {
		t.failed = true
		t.warn(fmt.Sprintf("%s: %v; training goes on without its files", t.name, err))
	}
}
