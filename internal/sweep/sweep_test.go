package sweep

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/longform-go/longform/configs"
	"github.com/longform-go/longform/internal/checkpoint"
	"github.com/longform-go/longform/internal/launch"
	"github.com/longform-go/longform/internal/rundir"
	"github.com/longform-go/longform/internal/safetensors"
	"github.com/longform-go/longform/internal/sweep/journal"
)

// TestMain lets the test binary be the programs that a sweep starts: "sweep worker DIR
// [--set N]", "sweep drive DIR" and "sweep launch DIR" are this package's, "run -c FILE" and
// "resume DIR" a stand-in for training.
func TestMain(m *testing.M) {
	if os.Getenv("SWEEP_TEST") == "" || len(os.Args) < 3 {
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	noticed, notice := context.WithCancel(context.Background())
	usr2 := make(chan os.Signal, 9)
	signal.Notify(usr2, syscall.SIGUSR2)
	go func() {
		for range usr2 {
			fmt.Fprintln(os.Stderr, "told to save")
			notice()
		}
	}()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	context.AfterFunc(noticed, cancel)
	var err error
	switch os.Args[1] {
	case "run":
		err = pretend(ctx, os.Args[3], "")
	case "resume":
		err = pretend(ctx, rundir.Dir(os.Args[2]).Config(), os.Args[2])
	case "sweep":
		var s *Study
		if s, err = Open(os.Args[3], nil); err != nil {
			break
		}
		switch os.Args[2] {
		case "worker":
			set := 0
			if len(os.Args) > 5 {
				set, err = strconv.Atoi(os.Args[5])
			}
			if err == nil {
				err = s.Work(ctx, []string{os.Args[0]}, set)
			}
		case "drive":
			err = s.Drive(ctx, Children([]string{os.Args[0], "sweep", "worker", os.Args[3]}, nil), silent{})
		case "launch":
			err = s.Drive(ctx, elsewhere(s), silent{})
		}
	}
	if err == nil && noticed.Err() != nil {
		os.Exit(launch.Requeue)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "train:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

type silent struct{}

func (silent) Update(*Study, []journal.Trial, string) {}

// loss is what the pretended training logs: it depends on the configuration and the step
// alone, as that of a real run does.
func loss(c configs.Config, step int) float64 {
	return math.Abs(math.Log10(c.Optim.LR)+3) + 1/float64(step)
}

// pretend trains nothing, but locks, logs, saves, resumes and stops as a run does.
func pretend(ctx context.Context, file, resume string) error {
	c, err := configs.Load(file, nil)
	if err != nil {
		return err
	}
	if c.Optim.Beta1 == 0.5 {
		return errors.New("step 1: no such luck")
	}
	dir := rundir.Dir(c.Run.Dir)
	unlock, err := checkpoint.Lock(string(dir))
	if err != nil {
		return err
	}
	defer unlock()
	done := 0
	if resume != "" {
		_, m, _, err := checkpoint.Last(resume)
		if err != nil {
			return err
		}
		done = m.Step
	} else if _, err := rundir.Create(string(dir)); err != nil {
		return err
	}
	text, err := c.YAML()
	if err != nil {
		return err
	}
	metrics, err := rundir.OpenMetrics(dir.Metrics(), done)
	if err != nil {
		return err
	}
	if err := dir.WriteConfig(text); err != nil {
		return err
	}
	save := func(step int) error {
		tensor := func(name string) []safetensors.Tensor {
			return []safetensors.Tensor{{Info: safetensors.Info{Name: name, DType: "F32", Shape: []int{1}}, Data: func([]byte) error { return nil }}}
		}
		_, err := checkpoint.Save(string(dir), checkpoint.Snapshot{Step: step, WeightsName: "model.safetensors",
			Weights: tensor("w"), State: tensor("m"), Progress: json.RawMessage("{}")})
		return err
	}
	for step := done + 1; step <= c.Run.Steps; step++ {
		select {
		case <-ctx.Done():
			if step > 1 {
				return save(step - 1)
			}
			return nil
		case <-time.After(time.Duration(c.Optim.Eps * float64(time.Second))):
		}
		err := metrics.Step(rundir.Step{Step: step, Loss: float32(loss(c, step))})
		if step%c.Run.EvalEvery == 0 {
			err = errors.Join(err, metrics.Eval(rundir.Eval{Step: step, Loss: loss(c, step)}))
		}
		if step%2 == 0 {
			err = errors.Join(err, save(step))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

const base = `model: {path: none}
data: {train: none, validation: none}
optim: {eps: 0.01} # seconds that a step takes
run: {dir: none, steps: 6, eval_every: 1}
`

// create makes a sweep of pretended runs.
func create(t *testing.T, text string, overrides ...string) *Study {
	t.Helper()
	at := t.TempDir()
	for name, content := range map[string]string{"base.yaml": base, "sweep.yaml": "base: base.yaml\n" + text} {
		if err := os.WriteFile(filepath.Join(at, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c, err := configs.LoadSweep(filepath.Join(at, "sweep.yaml"), append(overrides, "dir="+filepath.Join(at, "sweep")))
	if err != nil {
		t.Fatal(err)
	}
	dir, err := Create(c)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(string(dir), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func trials(t *testing.T, s *Study) []journal.Trial {
	t.Helper()
	all, err := s.Journal()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func program(t *testing.T, arguments ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(self, arguments...)
	c.Env = append(os.Environ(), "SWEEP_TEST=1")
	return c
}

// drive runs the sweep in this process, workers and runs in others.
func drive(t *testing.T, s *Study) error {
	t.Helper()
	t.Setenv("SWEEP_TEST", "1")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return s.Drive(t.Context(), Children([]string{self, "sweep", "worker", string(s.Dir)}, nil), silent{})
}

const rates = "parameters: [{name: optim.lr, kind: float, low: 1e-5, high: 1e-1, log: true}]\n"

func TestSweep(t *testing.T) {
	s := create(t, "trials: 6\nparallel: 3\n"+rates)
	if err := drive(t, s); err != nil {
		t.Fatal(err)
	}
	all := trials(t, s)
	if len(all) != 6 {
		t.Fatalf("%d trials, want 6", len(all))
	}
	lowest := math.Inf(1)
	for _, trial := range all {
		c, err := configs.Load(s.Dir.recipe(trial.Number), nil)
		if err != nil {
			t.Fatal(err)
		}
		if trial.State != journal.Complete || trial.Value == nil || *trial.Value != loss(c, 6) || len(trial.Intermediate) != 6 || trial.Intermediate[2] != loss(c, 2) {
			t.Errorf("trial %d of learning rate %v: %+v", trial.Number, c.Optim.LR, trial)
		}
		lowest = math.Min(lowest, loss(c, 6))
	}
	best, err := configs.Load(s.Dir.Best(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if loss(best, 6) != lowest || best.Run.Dir != s.Dir.join("best") {
		t.Errorf("best.yaml has loss %v and directory %s, want %v", loss(best, 6), best.Run.Dir, lowest)
	}
}

// TestMaximize: the search and the pruner see the opposite of the metric, people the metric.
func TestMaximize(t *testing.T) {
	s := create(t, "trials: 2\nmethod: grid\nmetric: {goal: maximize}\nparameters: [{name: optim.lr, kind: choice, values: [1e-3, 1e-5]}]\n")
	if err := drive(t, s); err != nil {
		t.Fatal(err)
	}
	best, found := s.Best(trials(t, s))
	if !found || best.Number != 1 {
		t.Errorf("best is trial %d, want 1", best.Number)
	}
	if k := s.known(best); k.Value != -*best.Value || k.Intermediate[3] != -best.Intermediate[3] {
		t.Errorf("the search sees %+v of %+v", k, best)
	}
}

func TestEarlyStop(t *testing.T) {
	// One at a time in the grid's order, a trial of asha that is worse than the one before
	// stops at the first rung.
	s := create(t, "method: grid\nearly_stop: {kind: asha, min_step: 2, factor: 2}\nparameters: [{name: optim.lr, kind: choice, values: [1e-3, 1e-5, 1e-4]}, {name: optim.eps, kind: choice, values: [0.3]}]\n")
	if err := drive(t, s); err != nil {
		t.Fatal(err)
	}
	all := trials(t, s)
	if len(all) != 3 || all[0].State != journal.Complete {
		t.Fatalf("%+v", all)
	}
	for _, trial := range all[1:] {
		if trial.State != journal.Pruned || len(trial.Intermediate) >= 6 || trial.Value == nil {
			t.Errorf("trial %d is %s after %d steps", trial.Number, trial.State, len(trial.Intermediate))
		}
	}
}

func TestFailures(t *testing.T) {
	s := create(t, "method: grid\nmax_failures: 2\nparameters: [{name: optim.beta1, kind: choice, values: [0.5, 0.9]}, {name: optim.lr, kind: choice, values: [1e-3, 1e-5, 1e-4]}]\n")
	err := drive(t, s)
	if err == nil || !strings.Contains(err.Error(), "2 trials failed, the first of them trial 0: step 1: no such luck; see ") {
		t.Errorf("error %v", err)
	}
	all := trials(t, s)
	for _, trial := range all[:2] {
		log, err := os.ReadFile(s.Dir.Log(trial.Number))
		if err != nil {
			t.Fatal(err)
		}
		if trial.State != journal.Fail || strings.Count(string(log), "no such luck") != attempts {
			t.Errorf("trial %d is %s, its log %q", trial.Number, trial.State, log)
		}
	}
	if failed(all) != 2 {
		t.Errorf("%d failed", failed(all))
	}
}

// TestNoWorkers: a driver whose workers can't work says so.
func TestNoWorkers(t *testing.T) {
	s := create(t, "trials: 1\n"+rates)
	err := s.Drive(t.Context(), Children([]string{"sh", "-c", "echo no room >&2; exit 3"}, nil), silent{})
	if err == nil || !strings.Contains(err.Error(), "workers fail one after the other (exit status 3); see ") {
		t.Errorf("error %v", err)
	}
}

// kill kills something that belongs to the sweep: a driver or a worker, now and then
// several at once.
func kill(t *testing.T, s *Study, driver int, rng *rand.Rand) {
	victims := []int{driver}
	for _, trial := range trials(t, s) {
		if trial.State == journal.Running && here(trial.Lease.Worker) && !gone(trial.Lease.Worker) {
			victims = append(victims, number(trial.Lease.Worker))
		}
	}
	rng.Shuffle(len(victims), func(i, j int) { victims[i], victims[j] = victims[j], victims[i] })
	for _, pid := range victims[:1+rng.IntN(2)*rng.IntN(len(victims))] {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
}

// TestKills: whatever is killed whenever, no trial is lost, and none is counted twice.
func TestKills(t *testing.T) {
	s := create(t, "trials: 10\nparallel: 3\n"+rates)
	rng := rand.New(rand.NewPCG(1, 2))
	kills := 25
	deadline := time.Now().Add(5 * time.Minute)
	for finished := false; !finished; {
		driver := program(t, "sweep", "drive", string(s.Dir))
		if err := driver.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- driver.Wait() }()
		for alive := true; alive; {
			wait := time.Hour
			if kills > 0 {
				wait = time.Duration(50+rng.IntN(250)) * time.Millisecond
			}
			select {
			case err := <-ended:
				alive, finished = false, err == nil
			case <-time.After(wait):
				kill(t, s, driver.Process.Pid, rng)
				kills--
			}
		}
		if time.Now().After(deadline) {
			t.Fatal("the sweep doesn't come to its end")
		}
	}
	all := trials(t, s)
	if len(all) != 10 {
		t.Fatalf("%d trials, want 10", len(all))
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
		if trial.State != journal.Complete || *trial.Value != loss(c, 6) || len(steps) != 6 || len(evals) != 6 || len(trial.Intermediate) != 6 {
			t.Errorf("trial %d: %+v, %d steps logged", trial.Number, trial, len(steps))
		}
	}
}

// TestSameDraws: a sweep whose trials are random draws the same ones whoever draws them.
func TestSameDraws(t *testing.T) {
	const text = "trials: 4\nmethod: random\nparallel: 2\n" + rates
	var drawn [2][]string
	for i := range drawn {
		s := create(t, text)
		if err := drive(t, s); err != nil {
			t.Fatal(err)
		}
		for _, trial := range trials(t, s) {
			drawn[i] = append(drawn[i], s.Settings(trial)...)
		}
	}
	if !slices.Equal(drawn[0], drawn[1]) || len(drawn[0]) != 4 {
		t.Errorf("drew %v, then %v", drawn[0], drawn[1])
	}
}

// TestConditions: a trial has a parameter if and only if what it depends on is on, its
// recipe loads, and has the trial's values.
func TestConditions(t *testing.T) {
	s := create(t, `trials: 1
parameters:
  - {name: model.lora.enabled, kind: choice, values: [true, false]}
  - {name: model.lora.rank, kind: choice, values: [4, 8, 16], when: model.lora.enabled}
  - {name: model.lora.dropout, kind: float, low: 0, high: 0.5, when: model.lora.enabled}
  - {name: model.quantize, kind: choice, values: [none, nf4], when: model.lora.enabled=true}
  - {name: schedule.kind, kind: choice, values: [constant, cosine]}
  - {name: schedule.final_ratio, kind: float, low: 0, high: 0.5, when: schedule.kind=cosine}
  - {name: run.batch_size, kind: int, low: 2, high: 64, log: true}
  - {name: optim.relative_step, kind: choice, values: [true], when: checkpoint.async=false}
  - {name: model.dropout, kind: choice, values: [null, 0.25]}
`)
	rapid.Check(t, func(t *rapid.T) {
		_, sampler := sampler(configs.Sweep{Method: rapid.SampledFrom([]string{"random", "tpe"}).Draw(t, "method"), Seed: rapid.Uint64().Draw(t, "seed")}, s.Space)
		point, err := sampler.Sample(rapid.IntRange(0, 100).Draw(t, "number"), nil)
		if err != nil {
			t.Fatal(err)
		}
		trial := journal.Trial{Params: map[string]journal.Param{}}
		for _, p := range params(s.Space, point) {
			trial.Params[p.Name] = p
		}
		c, err := s.recipe(trial)
		if err != nil {
			t.Fatalf("%v of %v", err, point)
		}
		has := func(name string) bool { _, ok := trial.Params[name]; return ok }
		for name, want := range map[string]bool{
			"model.lora.rank": c.Model.LoRA.Enabled, "model.lora.dropout": c.Model.LoRA.Enabled, "model.quantize": c.Model.LoRA.Enabled,
			"schedule.final_ratio": c.Schedule.Kind == "cosine", "optim.relative_step": false,
		} {
			if has(name) != want {
				t.Fatalf("%s takes part: %v, want %v, in %v", name, has(name), want, point)
			}
		}
		for name, p := range trial.Params {
			if got, _ := c.Value(name); got != p.Value {
				t.Fatalf("%s is %v in the recipe, %v in the journal", name, got, p.Value)
			}
		}
	})
}

// TestEpsilonSquared compares with what follows from scipy.stats.kruskal's H, which is
// (n-1) times the share of the sum of squares between groups.
func TestEpsilonSquared(t *testing.T) {
	tests := []struct {
		values, groups []float64
		want           float64
		known          bool
	}{
		{[]float64{0.9, 0.5, 0.7, 0.7, 0.2, 0.1, 0.4, 1.5, 0.3}, []float64{0, 0, 0, 1, 1, 1, 2, 2, 2}, 0.05135387488328713, true},
		{[]float64{1, 2, 3, 4, 5, 6, 7, 8}, []float64{0, 0, 0, 0, 1, 1, 1, 1}, 0.7222222222222214, true},
		{[]float64{3, 1, 2, 2, 9, 8}, []float64{0, 0, 0, 1, 1, 1}, 0.19117647058823473, true},
		{[]float64{1, 2, 3, 4, 5, 6}, []float64{0, 1, 0, 1, 0, 1}, 0, true},
		{[]float64{1, 2, 3, 4}, []float64{0, 0, 1, 1}, 0, false},
		{[]float64{1, 2, 3, 4, 5}, []float64{0, 0, 0, 0, 0}, 0, false},
		{[]float64{2, 2, 2, 2, 2}, []float64{0, 0, 0, 1, 1}, 0, false},
	}
	for _, test := range tests {
		if got, known := epsilonSquared(test.groups, test.values); math.Abs(got-test.want) > 1e-12 || known != test.known {
			t.Errorf("%v in %v: %v, %v, want %v, %v", test.values, test.groups, got, known, test.want, test.known)
		}
	}
}

// TestGone: a process that ended is known to have, one that lives isn't taken for dead,
// nor is one of another machine.
func TestGone(t *testing.T) {
	c := exec.Command("sleep", "60")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	start, _ := started(c.Process.Pid)
	name := fmt.Sprintf("host/%d/%s/%s", c.Process.Pid, start, system())
	if gone(name) || gone(self()) {
		t.Error("a living process is taken for dead")
	}
	if !gone(fmt.Sprintf("host/%d/1%s/%s", c.Process.Pid, start, system())) {
		t.Error("another process of the same number is taken for it")
	}
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); !gone(name) && time.Now().Before(end); { // not waited for: a zombie
		time.Sleep(time.Millisecond)
	}
	if !gone(name) {
		t.Error("a dead process is taken for a living one")
	}
	_ = c.Wait()
	if gone("host/1/1/elsewhere") || gone("optuna") {
		t.Error("it claims to know of other machines")
	}
}

func TestGPUs(t *testing.T) {
	dev := t.TempDir()
	for _, name := range []string{"nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"} {
		if err := os.WriteFile(filepath.Join(dev, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got := gpus("", dev); !slices.Equal(got, []string{"0", "1"}) {
		t.Errorf("found %v", got)
	}
	if got := gpus("3,GPU-5", dev); !slices.Equal(got, []string{"3", "GPU-5"}) {
		t.Errorf("found %v of those that are visible", got)
	}
	t.Setenv(visible, "3,5")
	if got := gpu(3); !slices.Equal(got, []string{visible + "=5"}) {
		t.Errorf("the fourth worker has %v", got)
	}
}

func TestFinal(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	evals := []reading{{1, 3}, {2, nan}, {3, 2}, {4, inf}, {5, 2.5}}
	losses := make([]reading, 25)
	for i := range losses {
		losses[i] = reading{i + 1, float64(i)}
	}
	tests := []struct {
		metric string
		sign   float64
		all    []reading
		want   float64
	}{
		{"eval.loss", 1, evals, 2}, {"eval.loss", -1, evals, 3}, {"eval.loss", 1, evals[1:2], nan}, {"eval.loss", 1, nil, nan},
		{"train.loss", 1, losses, 23}, {"train.loss", 1, losses[:1], 0}, {"train.loss", 1, nil, nan}, {"train.loss", 1, evals, 2.5},
	}
	for _, test := range tests {
		if got := final(test.metric, test.sign, test.all); got != test.want && !(math.IsNaN(got) && math.IsNaN(test.want)) {
			t.Errorf("%s of %v is %v, want %v", test.metric, test.all, got, test.want)
		}
	}
}

// TestImpossible: a value that goes with the base in no trial is found before any starts.
func TestImpossible(t *testing.T) {
	at := t.TempDir()
	for name, content := range map[string]string{"base.yaml": base, "sweep.yaml": "base: base.yaml\ndir: d\ntrials: 3\nparameters: [{name: model.quantize, kind: choice, values: [none, nf4]}]\n"} {
		if err := os.WriteFile(filepath.Join(at, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c, err := configs.LoadSweep(filepath.Join(at, "sweep.yaml"), []string{"dir=" + filepath.Join(at, "sweep")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Create(c); err == nil || !strings.Contains(err.Error(), "no trial with model.quantize=nf4 could run (") {
		t.Errorf("error %v", err)
	}
	if exists(filepath.Join(at, "sweep")) {
		t.Error("it left something behind")
	}
}
