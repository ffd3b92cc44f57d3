package journal

import (
	"bufio"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// What TestKills runs again and again: this binary, as a worker.
const (
	workerEnv = "LONGFORM_TEST_JOURNAL_WORKER"
	steps     = 3
	shortest  = 100 * time.Millisecond // lease
)

func TestMain(m *testing.M) {
	if name := os.Getenv(workerEnv); name != "" {
		err := work(os.Getenv("JOURNAL"), name, -1, os.Stdout)
		fmt.Fprintln(os.Stderr, err) // it's to be killed
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// work takes trials until there are limit and all are finished; below 0 there is
// no limit. It says on out what it was told is safe, as soon as it was told.
func work(path, name string, limit int, out *os.File) error {
	j, err := Open(path, "study", true, name)
	if err != nil {
		return err
	}
	defer j.Close()
	fmt.Fprintln(out, "opened")
	for {
		number, created, finished := -1, false, false
		err := j.Locked(func(tx *Tx) error {
			all := tx.Trials()
			finished = len(all) >= limit && limit >= 0
			for _, t := range all {
				finished = finished && t.State.Finished()
				if t.Abandoned(time.Now()) {
					number = t.Number
					return tx.Claim(number, shortest)
				}
			}
			if limit >= 0 && len(all) >= limit {
				return nil
			}
			created = true
			number, err = tx.Create([]Param{{"lr", 0.01, rate}}, nil, shortest)
			return err
		})
		switch {
		case err != nil:
			return err
		case finished:
			return nil
		case number < 0:
			time.Sleep(shortest / 10)
			continue
		case created:
			fmt.Fprintln(out, "created", number)
		}
		if err := run(j, number, out); err != nil && !errors.Is(err, ErrLost) {
			return err
		}
	}
}

// run goes on where the trial's last worker was killed.
func run(j *Journal, number int, out *os.File) error {
	all, err := j.Trials()
	if err != nil {
		return err
	}
	for step := len(all[number].Intermediate); step < steps; step++ {
		err := j.Locked(func(tx *Tx) error {
			return errors.Join(tx.Renew(number, shortest), tx.Report(number, step, float64(number+step)))
		})
		if err != nil {
			return err
		}
		fmt.Fprintln(out, "reported", number, step)
	}
	value := float64(number)
	err = j.Locked(func(tx *Tx) error {
		return errors.Join(tx.SetUser(number, "by", j.worker), tx.Finish(number, Complete, &value))
	})
	if err == nil {
		fmt.Fprintln(out, "finished", number)
	}
	return err
}

// TestKills kills 200 workers, four at a time, at any moment of their work. Then
// every trial is there once, has each of its steps once and finishes once:
// by what the workers were told, and by the file's lines.
func TestKills(t *testing.T) {
	const kills, abreast = 200, 4
	path := filepath.Join(t.TempDir(), "journal.log")
	random := rand.New(rand.NewPCG(1, 2))
	var (
		mu   sync.Mutex
		told = map[string]int{} // how often
		wait sync.WaitGroup
	)
	jobs := make(chan int)
	for range abreast {
		wait.Go(func() {
			for i := range jobs {
				mu.Lock()
				after := time.Duration(random.IntN(15_000)) * time.Microsecond
				mu.Unlock()
				lines, err := killed(path, fmt.Sprint("worker ", i), after)
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				for _, line := range lines {
					told[line]++
				}
				mu.Unlock()
			}
		})
	}
	for i := range kills {
		jobs <- i
	}
	close(jobs)
	wait.Wait()
	if t.Failed() {
		return
	}
	j := open(t, path, "last")
	begun := len(trials(t, j))
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if err := work(path, "survivor", begun+1, null); err != nil {
		t.Fatal(err)
	}

	all := trials(t, j)
	if len(all) != begun+1 {
		t.Errorf("%d trials, want %d and one more", len(all), begun)
	}
	for _, trial := range all {
		if trial.State != Complete || *trial.Value != float64(trial.Number) || len(trial.Intermediate) != steps || trial.User["by"] == nil {
			t.Errorf("at the end there is %v", trial)
		}
	}
	counts := map[string]int{}
	for line, times := range told {
		var number int
		kind, rest, _ := strings.Cut(line, " ")
		fmt.Sscan(rest, &number)
		counts[kind] += times
		if times != 1 || number >= begun {
			t.Errorf("workers were told %d times: %s", times, line)
		}
	}
	if unknown := begun - counts["created"]; unknown < 0 || unknown > kills {
		t.Errorf("%d of %d trials were created and nobody was told, after %d kills", unknown, begun, kills)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for pattern, want := range map[string]int{
		`(?m)^{"op_code":0,.*}$`:            1,
		`(?m)^{"op_code":4,.*}$`:            begun + 1,
		`(?m)^{"op_code":6,.*"state":1.*}$`: begun + 1,
		`(?m)^{"op_code":7,.*}$`:            steps * (begun + 1),
		`(?m)^{"op_code":8,.*}$`:            begun + 1,
	} {
		if got := len(regexp.MustCompile(pattern).FindAll(text, -1)); got != want {
			t.Errorf("%d lines like %s, want %d", got, pattern, want)
		}
	}
	t.Logf("%d kills: %d trials begun, %d of them known to their worker, %d finished", kills, begun, counts["created"], counts["finished"])
}

// killed starts a worker, kills it some time after it opened the journal, and
// returns what it said from then on.
func killed(path, name string, after time.Duration) ([]string, error) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), workerEnv+"="+name, "JOURNAL="+path)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	var lines []string
	for in := bufio.NewScanner(stdout); in.Scan(); {
		if len(lines) == 0 {
			time.AfterFunc(after, func() { cmd.Process.Kill() })
		}
		lines = append(lines, in.Text())
	}
	_ = cmd.Wait() // it was killed
	if stderr.Len() > 0 || len(lines) == 0 {
		return nil, fmt.Errorf("%s: %s", name, stderr.String())
	}
	return lines[1:], nil
}
