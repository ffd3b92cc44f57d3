package journal

import (
	"errors"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

// large writes a study of 1,000 trials that reported 100 values each.
func large(b *testing.B) (path string) {
	b.Helper()
	path = filepath.Join(b.TempDir(), "journal.log")
	j, err := Open(path, "study", true, "worker")
	if err != nil {
		b.Fatal(err)
	}
	defer j.Close()
	for i := range 1000 {
		if err := j.Locked(func(tx *Tx) error { return errors.Join(finished(tx, i, 100)...) }); err != nil {
			b.Fatal(err)
		}
	}
	return path
}

func finished(tx *Tx, number, steps int) []error {
	errs := []error{create(Param{"lr", 0.001, rate}, Param{"layers", 12, layers}, Param{"kind", 8, choice})(tx)}
	for step := range steps {
		errs = append(errs, report(number, step, float64(step)/3)(tx))
	}
	return append(errs, tx.Renew(number, time.Minute), finish(number, Complete, float64(number)/7)(tx))
}

// BenchmarkOpen reads 1,000 trials with 100 values each, from the first line.
func BenchmarkOpen(b *testing.B) {
	path := large(b)
	b.ReportAllocs()
	var before, after runtime.MemStats
	for b.Loop() {
		runtime.GC()
		runtime.ReadMemStats(&before)
		j, err := Open(path, "study", true, "reader")
		if err != nil {
			b.Fatal(err)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/1e6, "MB-held")
		j.Close()
	}
}

// BenchmarkFollow is what a driver pays behind 1,000 trials for news of one
// value: another's transaction, synced, and reading it.
func BenchmarkFollow(b *testing.B) {
	path := large(b)
	worker, err := Open(path, "study", true, "worker")
	if err != nil {
		b.Fatal(err)
	}
	driver, err := Open(path, "study", true, "driver")
	if err != nil {
		b.Fatal(err)
	}
	number := 0
	if err := worker.Locked(func(tx *Tx) error {
		number, err = tx.Create(nil, nil, time.Minute)
		return err
	}); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	step := 0
	for b.Loop() {
		step++
		if err := worker.Locked(report(number, step, 1)); err != nil {
			b.Fatal(err)
		}
		all, err := driver.Trials()
		if err != nil || len(all[number].Intermediate) != step {
			b.Fatal("step", step, err)
		}
	}
}

// BenchmarkTrials is looking where nothing is new.
func BenchmarkTrials(b *testing.B) {
	j, err := Open(large(b), "study", true, "driver")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := j.Trials(); err != nil {
			b.Fatal(err)
		}
	}
}
