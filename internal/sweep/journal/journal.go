// Package journal keeps a study, its trials and who works on them, in one file
// that many processes append to and any of them may die over. The file is
// Optuna's: what its JournalFileBackend (version 5) reads and writes, one JSON
// object a line, so its dashboard and its analyses work on a study of ours.
//
// What is said of trials beyond Optuna's format is in system attributes, which
// Optuna keeps and doesn't ask about (leases), and in a field of a line that it
// doesn't read (how much of a transaction is still to come).
package journal

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/longform-go/longform/internal/durable"
)

// A Journal is one study in an open journal file. Its methods may be called
// concurrently, by many processes on many machines too where the file system's
// flock reaches all of them.
type Journal struct {
	path, name string
	minimize   bool
	worker     string
	now        func() time.Time
	patience   time.Duration // before a lock of Optuna's that nothing happens under is broken

	mu     sync.Mutex
	file   *os.File
	study  *study
	offset int64 // of the first byte that study doesn't hold
	line   int   // lines before offset
}

// Open opens the journal at path, creates file and study where they are missing,
// and cuts off what a writer that died left half written. The worker's name says
// whose a lease is: no two processes that may live at once have the same.
func Open(path, study string, minimize bool, worker string) (*Journal, error) {
	if worker == "" {
		return nil, fmt.Errorf("journal %s: a worker needs a name", path)
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("journal: %w", err)
	}
	j := &Journal{path: path, name: study, minimize: minimize, worker: worker, now: time.Now, patience: optunaPatience, file: file}
	j.forget()
	if err = j.transact((*Tx).createStudy); err == nil {
		if err = durable.SyncDir(filepath.Dir(path)); err != nil {
			err = fmt.Errorf("journal: %w", err)
		}
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return j, nil
}

// Close closes the file. What was written is safe already.
func (j *Journal) Close() error { return j.file.Close() }

// Trials reads what was appended since the last time and returns all trials of
// the study, by number. What they point to is not to be changed.
func (j *Journal) Trials() ([]Trial, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	unlock, err := lockFile(j.file, false)
	if err != nil {
		return nil, fmt.Errorf("journal %s: %w", j.path, err)
	}
	defer unlock()
	if err := j.replay(); err != nil {
		return nil, err
	}
	if err := j.check(); err != nil {
		return nil, err
	}
	return j.study.snapshot(), nil
}

// Locked runs fn while no other process reads or writes the study. Before, it
// reads what others appended; after, it writes what fn did with one write, and
// syncs. If fn fails, nothing of it is written; if the process dies, all or
// nothing is there. fn must not call the journal's own methods.
func (j *Journal) Locked(fn func(tx *Tx) error) error {
	return j.transact(func(tx *Tx) error {
		if err := j.check(); err != nil {
			return err
		}
		return fn(tx)
	})
}

func (j *Journal) transact(fn func(tx *Tx) error) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	unlock, err := lockFile(j.file, true)
	if err != nil {
		return fmt.Errorf("journal %s: %w", j.path, err)
	}
	defer unlock()
	release, err := lockOptuna(j.path, j.patience)
	if err != nil {
		return fmt.Errorf("journal %s: %w", j.path, err)
	}
	defer release()

	if err := j.replay(); err != nil {
		return err
	}
	if err := j.cut(); err != nil {
		return err
	}
	tx := &Tx{journal: j}
	done := false
	defer func() {
		if !done && len(tx.lines) > 0 {
			j.forget() // what the transaction changed in memory
		}
	}()
	if err := fn(tx); err != nil {
		return err
	}
	if len(tx.lines) == 0 {
		return nil
	}
	if err := j.append(tx.lines); err != nil {
		return err
	}
	done = true
	return nil
}

// direction is Optuna's number for the goal.
func (j *Journal) direction() int {
	if j.minimize {
		return 1
	}
	return 2
}

// forget makes the next replay start from the first line.
func (j *Journal) forget() {
	j.study = newStudy(j.name)
	j.offset, j.line = 0, 0
}

// check says what is wrong with the study as it was read.
func (j *Journal) check() error {
	switch s := j.study; {
	case s.id < 0:
		return fmt.Errorf("journal %s has no study %s: it was deleted", j.path, j.name)
	case len(s.directions) != 1:
		return fmt.Errorf("study %s in %s has %d objectives; only one is supported", j.name, j.path, len(s.directions))
	case s.directions[0] != j.direction():
		return fmt.Errorf("study %s in %s has the other goal, minimize or maximize: take another name or file", j.name, j.path)
	}
	return nil
}

// replay reads from offset the lines that were appended, as far as transactions
// are complete.
func (j *Journal) replay() (err error) {
	defer func() {
		if err != nil {
			j.forget() // lines before the faulty one may be in the study and not in offset
		}
	}()
	info, err := j.file.Stat()
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	if info.Size() < j.offset {
		return fmt.Errorf("journal %s became shorter while it was in use: restore it", j.path)
	}
	if info.Size() == j.offset {
		return nil
	}
	r := bufio.NewReaderSize(io.NewSectionReader(j.file, j.offset, info.Size()-j.offset), 64<<10)
	var pending []operation
	offset, line := j.offset, j.line
	for {
		text, err := r.ReadBytes('\n')
		if err == io.EOF {
			return j.partial(text)
		}
		if err != nil {
			return fmt.Errorf("journal: %w", err)
		}
		line++
		offset += int64(len(text))
		op, err := decode(text)
		if err != nil {
			return fmt.Errorf("%s:%d: %w", j.path, line, err)
		}
		pending = append(pending, op)
		if op.Left > 0 {
			continue
		}
		for i, op := range pending {
			if err := j.study.apply(op); err != nil {
				return fmt.Errorf("%s:%d: %w", j.path, line-len(pending)+1+i, err)
			}
		}
		pending = pending[:0]
		j.offset, j.line = offset, line
	}
}

// partial looks at a last line without an end. In a file without a single whole
// line it has to look like a journal's, before anyone cuts it.
func (j *Journal) partial(text []byte) error {
	const start = `{"op_code":`
	n := min(len(text), len(start))
	if j.offset > 0 || bytes.Equal(text[:n], []byte(start[:n])) || len(bytes.Trim(text, "\x00")) == 0 {
		return nil
	}
	return fmt.Errorf("%s:1: not a journal", j.path)
}

// cut removes what stands after the last complete transaction. It is called
// under the locks, so whoever wrote it is dead, and was never told that it's safe.
func (j *Journal) cut() error {
	info, err := j.file.Stat()
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	if info.Size() == j.offset {
		return nil
	}
	if err := j.file.Truncate(j.offset); err != nil {
		return fmt.Errorf("journal: cutting off a torn line: %w", err)
	}
	return nil
}

// append writes a transaction whose effect is in j.study already.
func (j *Journal) append(lines [][]byte) error {
	info, err := j.file.Stat()
	if err != nil {
		return fmt.Errorf("journal: %w", err)
	}
	if info.Size() != j.offset {
		return fmt.Errorf("journal %s: something wrote to it without its lock; nothing was added, try again", j.path)
	}
	text := transaction(lines)
	_, err = j.file.Write(text)
	if err == nil {
		err = j.file.Sync()
	}
	if err != nil {
		// An error says that nothing was added, so nothing may stay.
		return fmt.Errorf("journal: %w", errors.Join(err, j.file.Truncate(j.offset)))
	}
	j.offset += int64(len(text))
	j.line += len(lines)
	return nil
}
