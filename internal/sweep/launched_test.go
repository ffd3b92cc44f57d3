package sweep

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/longform-go/longform/configs"
	"github.com/longform-go/longform/internal/launch"
	"github.com/longform-go/longform/internal/launch/local"
	"github.com/longform-go/longform/internal/launch/slurm"
	"github.com/longform-go/longform/internal/rundir"
	"github.com/longform-go/longform/internal/sweep/journal"
	"github.com/longform-go/longform/internal/testneeds"
)

// launchers are those of the tests.
func launchers(l configs.Launch) launch.Launcher {
	if l.On == "slurm" {
		return slurm.Launcher{}
	}
	return local.Launcher{Grace: 20 * time.Second}
}

// elsewhere has this test binary's workers launched.
func elsewhere(s *Study) Crew {
	l := s.Config.Launch
	return Launched(launchers, launch.Job{
		Name: "sweep", Dir: string(s.Dir), Command: []string{os.Args[0], "sweep", "worker", string(s.Dir)}, CPUs: l.CPUs,
		Env: map[string]string{"SWEEP_TEST": "1"}, Time: l.Limit(), Notice: l.Warning(), Extra: map[string]string{"partition": l.Partition},
	})
}

// eachLauncher runs a test with workers on this host, and on the Slurm of scripts/slurm-for-tests.sh, which CI has to have.
func eachLauncher(t *testing.T, test func(t *testing.T, on string)) {
	t.Run("local", func(t *testing.T) { test(t, "launch: {on: local}\n") })
	t.Run("slurm", func(t *testing.T) {
		testneeds.Slurm(t)
		test(t, "launch: {on: slurm, partition: yielding, cpus: 1}\n")
	})
}

// endWorkers ends at last what a test has launched.
func endWorkers(t *testing.T, s *Study) {
	t.Cleanup(func() {
		for _, set := range roster(t, s) {
			if set.ID == "" {
				continue
			}
			if err := launchers(set.Launch).Cancel(context.Background(), set.ID); err != nil {
				t.Error(err)
			}
		}
	})
}

// slow is parameters of trials whose six steps take so many seconds each.
func slow(step float64) string {
	return fmt.Sprintf("parameters: [{name: optim.lr, kind: float, low: 1e-5, high: 1e-1, log: true}, {name: optim.eps, kind: choice, values: [%g]}]\n", step)
}

func roster(t *testing.T, s *Study) []*set {
	t.Helper()
	sets, err := s.Dir.readRoster()
	if err != nil {
		t.Fatal(err)
	}
	return sets
}

// exact checks that there are so many trials, each complete, with every step once.
func exact(t *testing.T, s *Study, want int) {
	t.Helper()
	all := trials(t, s)
	if len(all) != want {
		t.Errorf("%d trials, want %d", len(all), want)
	}
	for _, trial := range all {
		c, err := configs.Load(s.Dir.recipe(trial.Number), nil)
		if err != nil {
			t.Fatal(err)
		}
		steps, evals, err := rundir.ReadMetrics(rundir.Dir(s.Dir.Run(trial.Number)).Metrics())
		if err != nil {
			t.Fatal(err)
		}
		n := c.Run.Steps
		if trial.State != journal.Complete || *trial.Value != loss(c, n) || len(steps) != n || len(evals) != n || len(trial.Intermediate) != n {
			t.Errorf("trial %d: %+v, %d steps logged", trial.Number, trial, len(steps))
		}
	}
	text, err := os.ReadFile(s.Dir.journal())
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), `"state":1`); n != want {
		t.Errorf("trials were completed %d times, want %d", n, want)
	}
}

// awaitTrial waits until a trial has reported a step.
func awaitTrial(t *testing.T, s *Study, number, step int) journal.Trial {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if all := trials(t, s); len(all) > number && len(all[number].Intermediate) >= step {
			return all[number]
		}
	}
	t.Fatalf("trial %d doesn't get to step %d", number, step)
	return journal.Trial{}
}

// TestLaunched: an array of two workers does all trials, and is gone afterwards.
func TestLaunched(t *testing.T) {
	eachLauncher(t, func(t *testing.T, on string) {
		s := create(t, "trials: 5\nparallel: 2\n"+on+slow(0.1))
		endWorkers(t, s)
		if err := s.Drive(t.Context(), elsewhere(s), silent{}); err != nil {
			t.Fatal(err)
		}
		exact(t, s, 5)
		if sets := roster(t, s); len(sets) != 1 || sets[0].Workers != 2 {
			t.Errorf("submitted %+v, want one array of two", sets)
		}
		workers := map[string]bool{}
		for _, trial := range trials(t, s) {
			workers[trial.Lease.Worker] = true
		}
		if len(workers) != 2 {
			t.Errorf("%d workers have had trials, want 2", len(workers))
		}
	})
}

// TestDriverKilled: a driver finds the workers of the one before, which went on meanwhile, and submits no others.
func TestDriverKilled(t *testing.T) {
	eachLauncher(t, func(t *testing.T, on string) {
		s := create(t, "trials: 4\nparallel: 2\n"+on+slow(0.2))
		endWorkers(t, s)
		driver := program(t, "sweep", "launch", string(s.Dir))
		if err := driver.Start(); err != nil {
			t.Fatal(err)
		}
		worker := awaitTrial(t, s, 0, 1).Lease.Worker
		if err := driver.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = driver.Wait()
		if err := s.Drive(t.Context(), elsewhere(s), silent{}); err != nil {
			t.Fatal(err)
		}
		exact(t, s, 4)
		if sets := roster(t, s); len(sets) != 1 {
			t.Errorf("submitted %d times, want once", len(sets))
		}
		if by := trials(t, s)[0].Lease.Worker; by != worker {
			t.Errorf("trial 0 was ended by %s, begun by %s", by, worker)
		}
	})
}

// TestLookAway: a driver that is told to stop leaves the workers alone.
func TestLookAway(t *testing.T) {
	s := create(t, "trials: 3\nparallel: 1\n"+rates)
	endWorkers(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		awaitTrial(t, s, 0, 1)
		cancel()
	}()
	if err := s.Drive(ctx, elsewhere(s), silent{}); err != nil {
		t.Fatal(err)
	}
	for len(trials(t, s)) < 3 || trials(t, s)[2].State == journal.Running {
		time.Sleep(20 * time.Millisecond)
	}
	exact(t, s, 3)
}

// TestCancelWorkers: cancelled workers save and end, the driver submits no others, and the next one goes on.
func TestCancelWorkers(t *testing.T) {
	eachLauncher(t, func(t *testing.T, on string) {
		s := create(t, "trials: 2\nparallel: 2\n"+on+slow(0.3))
		endWorkers(t, s)
		ended := make(chan error, 1)
		go func() { ended <- s.Drive(t.Context(), elsewhere(s), silent{}) }()
		awaitTrial(t, s, 0, 3)
		awaitTrial(t, s, 1, 3)
		if err := s.CancelWorkers(t.Context(), launchers); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; err == nil || !strings.Contains(err.Error(), "the workers were cancelled; go on with: train sweep resume ") {
			t.Errorf("error %v", err)
		}
		for _, trial := range trials(t, s) {
			if trial.State != journal.Running || !trial.Abandoned(time.Now()) || len(trial.Intermediate) >= 6 {
				t.Errorf("trial %d is %s, lease %+v, want one that was left", trial.Number, trial.State, trial.Lease)
			}
		}
		if err := s.Drive(t.Context(), elsewhere(s), silent{}); err != nil {
			t.Fatal(err)
		}
		exact(t, s, 2)
		if sets := roster(t, s); len(sets) != 2 {
			t.Errorf("submitted %d times, want twice", len(sets))
		}
	})
}

// TestDismissed: workers whose job the driver doesn't know, since it died while it submitted them, end by themselves.
func TestDismissed(t *testing.T) {
	s := create(t, "trials: 2\n"+rates)
	endWorkers(t, s)
	if err := s.Dir.writeRoster([]*set{{Number: 1, Workers: 3}}); err != nil {
		t.Fatal(err)
	}
	if err := s.Drive(t.Context(), elsewhere(s), silent{}); err != nil {
		t.Fatal(err)
	}
	if sets := roster(t, s); len(sets) != 2 || !sets[0].Ended {
		t.Errorf("submitted %+v", sets)
	}
	for number, want := range map[int]bool{1: true, 2: false, 3: true} {
		again := roster(t, s)
		again[1].Ended = false
		if err := s.Dir.writeRoster(again); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Dir.dismissed(number); err != nil || got != want {
			t.Errorf("set %d is dismissed: %v, %v, want %v", number, got, err, want)
		}
	}
}

// TestReplaced: a worker that ends early is replaced by one that goes on with its trial.
func TestReplaced(t *testing.T) {
	s := create(t, "trials: 2\n"+slow(0.2))
	endWorkers(t, s)
	go func() {
		worker := number(awaitTrial(t, s, 0, 3).Lease.Worker)
		if err := syscall.Kill(worker, syscall.SIGKILL); err != nil {
			t.Error(err)
		}
	}()
	if err := s.Drive(t.Context(), elsewhere(s), silent{}); err != nil {
		t.Fatal(err)
	}
	exact(t, s, 2)
	if sets := roster(t, s); len(sets) != 2 {
		t.Errorf("submitted %d times, want twice", len(sets))
	}
}

// TestUselessWorkers: a driver whose workers can't work, or can't be submitted, says why, in a line.
func TestUselessWorkers(t *testing.T) {
	s := create(t, "trials: 1\n"+rates)
	job := launch.Job{Name: "sweep", Dir: string(s.Dir), Command: []string{"sh", "-c", "echo no room >&2; exit 3"}}
	err := s.Drive(t.Context(), Launched(launchers, job), silent{})
	if err == nil || !strings.HasPrefix(err.Error(), "workers fail one after the other (failed: exit status 3: no room); see ") {
		t.Errorf("error %v", err)
	}
	if n := len(roster(t, s)); n != fruitless {
		t.Errorf("submitted %d times, want %d", n, fruitless)
	}

	t.Run("no such partition", func(t *testing.T) {
		testneeds.Slurm(t)
		s := create(t, "trials: 1\nlaunch: {on: slurm, partition: nosuch}\n"+rates)
		err := s.Drive(t.Context(), elsewhere(s), silent{})
		if err == nil || !strings.Contains(err.Error(), "invalid partition") || strings.Contains(err.Error(), "\n") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("no Slurm", func(t *testing.T) {
		s := create(t, "trials: 1\nlaunch: {on: slurm}\n"+rates)
		t.Setenv("PATH", t.TempDir())
		err := s.Drive(t.Context(), elsewhere(s), silent{})
		if err == nil || err.Error() != "slurm: there is no sbatch here; run this on a login node of the cluster" {
			t.Errorf("error %v", err)
		}
	})
}

// TestPreempted: when Slurm takes a worker's place in the middle of a trial, the trial is saved, and done once.
func TestPreempted(t *testing.T) {
	testneeds.Slurm(t)
	s := create(t, "trials: 4\nparallel: 2\nlaunch: {on: slurm, partition: yielding, time: 10m, notice: 1m}\n"+slow(0.5))
	endWorkers(t, s)
	go func() {
		awaitTrial(t, s, 0, 2)
		awaitTrial(t, s, 1, 2)
		out, err := exec.Command("sbatch", "--partition=urgent", "--exclusive", "--output=/dev/null", "--wait", "--wrap=sleep 1").CombinedOutput()
		if err != nil {
			t.Errorf("%v: %s", err, out)
		}
	}()
	if err := s.Drive(t.Context(), elsewhere(s), silent{}); err != nil {
		t.Fatal(err)
	}
	exact(t, s, 4)
	sets := roster(t, s)
	if len(sets) != 1 {
		t.Fatalf("submitted %d times, want once", len(sets))
	}
	status, err := launchers(sets[0].Launch).Status(t.Context(), sets[0].ID)
	if err != nil || status.Preemptions == 0 || status.Restarts != 0 {
		t.Errorf("status %+v, %v; want workers to have given way", status, err)
	}
	told := 0
	for i := range 4 {
		log, err := os.ReadFile(s.Dir.Log(i))
		if err != nil {
			t.Fatal(err)
		}
		told += strings.Count(string(log), "told to save")
	}
	if told == 0 || told > status.Preemptions {
		t.Errorf("runs were told %d times, workers gave way %d times", told, status.Preemptions)
	}
}

// TestTermAfterNotice: a worker that is told to give way and then to end asks to be started again, and leaves its trial to
// whoever comes next. The run has its signal from the worker alone, once.
func TestTermAfterNotice(t *testing.T) {
	s := create(t, "trials: 1\n"+slow(0.3))
	worker := program(t, "sweep", "worker", string(s.Dir))
	if err := worker.Start(); err != nil {
		t.Fatal(err)
	}
	trial := awaitTrial(t, s, 0, 3)
	for _, signal := range []os.Signal{syscall.SIGUSR2, syscall.SIGTERM, syscall.SIGUSR2} {
		if err := worker.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
	}
	_ = worker.Wait()
	if code := worker.ProcessState.ExitCode(); code != launch.Requeue {
		t.Errorf("exit status %d, want %d", code, launch.Requeue)
	}
	left := trials(t, s)[0]
	if left.State != journal.Running || left.Lease.Worker != trial.Lease.Worker || !left.Abandoned(time.Now()) {
		t.Errorf("the trial is %s, lease %+v", left.State, left.Lease)
	}
	log, err := os.ReadFile(s.Dir.Log(0))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(log), "told to save"); n != 1 {
		t.Errorf("the run was told %d times", n)
	}
	if !exists(filepath.Join(s.Dir.Run(0), "checkpoints", "latest")) {
		t.Error("nothing was saved")
	}
	if err := drive(t, s); err != nil {
		t.Fatal(err)
	}
	exact(t, s, 1)
}

// TestElsewhere: of a worker on another machine nothing is believed but its lease, and when that runs out its trial is
// taken over by one who would otherwise have nothing to do.
func TestElsewhere(t *testing.T) {
	s := create(t, "trials: 1\n"+rates)
	// A living process's number, and a dead one's, on a machine that isn't this.
	for _, pid := range []int{os.Getpid(), 1 << 30} {
		start, _ := started(pid)
		name := fmt.Sprintf("node/%d/%s/elsewhere", pid, start)
		if here(name) || gone(name) {
			t.Errorf("%s is taken for a process of this machine", name)
		}
	}
	other, err := journal.Open(s.Dir.journal(), s.Config.Name, true, "node/1/1/elsewhere")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	point, err := s.sampler.Sample(0, nil)
	if err != nil {
		t.Fatal(err)
	}
	const silence = 3 * time.Second
	err = other.Locked(func(tx *journal.Tx) error {
		_, err := tx.Create(params(s.Space, point), nil, silence)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	died := trials(t, s)[0].Lease.Until
	t.Setenv("SWEEP_TEST", "1")
	if err := s.Work(t.Context(), []string{os.Args[0]}, 0); err != nil {
		t.Fatal(err)
	}
	exact(t, s, 1)
	steps, _, err := rundir.ReadMetrics(rundir.Dir(s.Dir.Run(0)).Metrics())
	if err != nil || len(steps) == 0 {
		t.Fatal(err)
	}
	if info, err := os.Stat(s.Dir.recipe(0)); err != nil || info.ModTime().Before(died.Add(-10*time.Millisecond)) {
		t.Errorf("taken over before the lease had run out: %v", err)
	}
}

// TestLivesElsewhere: a worker doesn't wait for one on another machine that lives.
func TestLivesElsewhere(t *testing.T) {
	s := create(t, "trials: 1\n"+rates)
	other, err := journal.Open(s.Dir.journal(), s.Config.Name, true, "node/1/1/elsewhere")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	point, err := s.sampler.Sample(0, nil)
	if err != nil {
		t.Fatal(err)
	}
	renew := func(tx *journal.Tx) error { return tx.Renew(0, lease) }
	err = other.Locked(func(tx *journal.Tx) error {
		_, err := tx.Create(params(s.Space, point), nil, lease)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Work(t.Context(), nil, 0) }()
	select {
	case err := <-done:
		t.Fatalf("it left without a sign of life from the other: %v", err)
	case <-time.After(500 * time.Millisecond):
	}
	if err := other.Locked(renew); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := trials(t, s)[0]; got.State != journal.Running || got.Lease.Worker != "node/1/1/elsewhere" {
		t.Errorf("%+v", got)
	}
}
