package tracking

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/longform-go/longform/configs"
	"github.com/longform-go/longform/internal/rundir"
)

// pendingPoints is how many records wait for the server in memory, about a
// megabyte; later ones are taken from the log.
const pendingPoints = 4096

// Variables for tests, which have no time.
var (
	// pace is the time between two requests, which carry what was logged meanwhile.
	pace = time.Second
	// grace is how long the end of training waits for the server.
	grace = 5 * time.Second
	// Tries go on for as long as the run, after pauses that double; the first one is also that after training has ended.
	firstPause, longestPause = time.Second, 30 * time.Second
)

// mlflow sends records to a server from a goroutine of its own.
//
// What the server has of a metric is a prefix of the log: a resumed run, whose
// records repeat those of the steps it repeats, sends later steps alone.
type mlflow struct {
	server *server
	config configs.Config
	dir    rundir.Dir
	after  int
	warn   func(string)

	begin   sync.Once
	wake    chan struct{} // gets one when pending does
	closing chan struct{} // is closed when outcome is set
	outcome Outcome
	done    chan struct{} // is closed when the goroutine has ended
	ctx     context.Context
	cancel  context.CancelFunc

	mu      sync.Mutex
	pending []point
	behind  bool // the log has records after the pending ones, or before the first

	// The goroutine's own.
	run    string         // the server's id of the run
	sent   map[string]int // last step of each metric that the server has
	warned bool
}

func openMLflow(c configs.Config, dir rundir.Dir, after int, warn func(string)) *mlflow {
	m := &mlflow{
		server: newServer(c.Tracking.MLflow), config: c, dir: dir, after: after, warn: warn,
		wake: make(chan struct{}, 1), closing: make(chan struct{}), done: make(chan struct{}), behind: after > 0, sent: map[string]int{},
	}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	if after > 0 {
		m.begin.Do(m.start)
	}
	return m
}

func (m *mlflow) start() { go m.work() }

func (m *mlflow) log(p point) {
	m.begin.Do(m.start)
	m.mu.Lock()
	if len(m.pending) == pendingPoints {
		m.behind = true
	}
	if !m.behind {
		m.pending = append(m.pending, p)
	}
	m.mu.Unlock()
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

func (m *mlflow) close(o Outcome) {
	m.begin.Do(func() { close(m.done) }) // nothing was ever logged
	m.outcome = o
	close(m.closing)
	timer := time.AfterFunc(grace, m.cancel)
	<-m.done
	timer.Stop()
	m.cancel()
}

func (m *mlflow) work() {
	defer close(m.done)
	err := m.follow()
	var refused refusal
	switch {
	case err == nil:
	case errors.As(err, &refused):
		m.warn(fmt.Sprintf("MLflow at %s: %v; training goes on without it, and its next start tries again", m.server, err))
	default: // out of time
		m.warn(fmt.Sprintf("MLflow at %s: not all that was logged has got there; send the rest with: train resume %s", m.server, m.dir))
	}
	m.mu.Lock()
	m.pending, m.behind = nil, true // take no more
	m.mu.Unlock()
}

// follow sends until training has ended and the server has everything.
func (m *mlflow) follow() error {
	if err := m.insist(m.connect); err != nil {
		return err
	}
	for {
		closed := m.closed() // before looking: nothing is logged after that
		points, err := m.next()
		if err != nil {
			return err
		}
		for batch := range batches(points, m.sent) {
			if err := m.insist(func(ctx context.Context) error { return m.server.logMetrics(ctx, m.run, batch) }); err != nil {
				return err
			}
			for _, x := range batch {
				m.sent[x.Key] = x.Step
			}
		}
		if len(points) == 0 && closed {
			return m.insist(func(ctx context.Context) error {
				return m.server.update(ctx, m.run, statuses[m.outcome], time.Now())
			})
		}
		if len(points) == 0 {
			select {
			case <-m.wake:
			case <-m.closing:
			}
		}
		m.wait(pace)
	}
}

// next takes what is pending or, when that is all sent and isn't all, what the
// log has.
func (m *mlflow) next() ([]point, error) {
	m.mu.Lock()
	points, behind := m.pending, m.behind
	m.pending = nil
	if len(points) == 0 {
		m.behind = false // from here on records are pending again, in the log or not
	}
	m.mu.Unlock()
	if len(points) > 0 || !behind {
		return points, nil
	}
	points, err := history(m.dir.Metrics())
	if err != nil {
		return nil, refusal{err}
	}
	return points, nil
}

// insist calls f until it succeeds, is refused, or the time is up.
func (m *mlflow) insist(f func(context.Context) error) error {
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		err := f(m.ctx)
		var refused refusal
		if err == nil || errors.As(err, &refused) || m.ctx.Err() != nil {
			return err
		}
		if !m.warned && !m.closed() {
			m.warned = true
			m.warn(fmt.Sprintf("MLflow at %s: %v; training goes on, and what is logged is sent when it answers", m.server, err))
		}
		if !m.closed() {
			m.wait(pause)
			continue
		}
		select {
		case <-time.After(firstPause):
		case <-m.ctx.Done():
		}
	}
}

// wait pauses until training has ended at the latest.
func (m *mlflow) wait(pause time.Duration) {
	select {
	case <-time.After(pause):
	case <-m.closing:
	}
}

func (m *mlflow) closed() bool {
	select {
	case <-m.closing:
		return true
	default:
		return false
	}
}

// statuses are MLflow's. A run that was stopped may be resumed, and is running
// again then.
var statuses = map[Outcome]string{Finished: "FINISHED", Stopped: "KILLED", Failed: "FAILED"}

// identity is kept in the run directory.
type identity struct {
	URI string `json:"tracking_uri"`
	Run string `json:"run_id"`
}

// connect finds the run on the server, or creates it. It may be repeated.
func (m *mlflow) connect(ctx context.Context) error {
	path, uri := m.dir.MLflow(), m.config.Tracking.MLflow
	var kept identity
	if text, err := os.ReadFile(path); err == nil && m.after > 0 {
		if err := json.Unmarshal(text, &kept); err != nil {
			return refusal{fmt.Errorf("%s: %w; delete it to begin another run there", path, err)}
		}
	}
	hasParams := false
	if kept.URI == uri && kept.Run != "" {
		found, err := m.server.run(ctx, kept.Run)
		switch {
		case err == nil:
			m.run, m.sent, hasParams = kept.Run, found.steps(), len(found.Data.Params) > 0
			if err := m.server.update(ctx, m.run, "RUNNING", time.Time{}); err != nil {
				return err
			}
		case !missing(err):
			return err
		}
	}
	if m.run == "" {
		experiment, err := m.server.experiment(ctx, m.config.Tracking.Experiment)
		if err != nil {
			return err
		}
		if m.run, err = m.server.create(ctx, experiment, filepath.Base(m.config.Run.Dir)); err != nil {
			return err
		}
		text, _ := json.Marshal(identity{uri, m.run})
		if err := os.WriteFile(path, append(text, '\n'), 0o644); err != nil {
			return refusal{err}
		}
	}
	if hasParams {
		return nil
	}
	return m.server.logParams(ctx, m.run, m.config.All())
}

// metric is one value, as the server takes it.
type metric struct {
	Key   string `json:"key"`
	Value number `json:"value"`
	Time  int64  `json:"timestamp"` // in milliseconds
	Step  int    `json:"step"`
}

// batches are the metrics of points that are later than those sent, at most as
// many at once as the server takes.
func batches(points []point, sent map[string]int) iter.Seq[[]metric] {
	return func(yield func([]metric) bool) {
		var batch []metric
		for _, p := range points {
			if len(batch)+len(p.scalars) > maxMetrics {
				if !yield(batch) {
					return
				}
				batch = nil
			}
			for _, s := range p.scalars {
				if last, ok := sent[s.name]; !ok || p.step > last {
					batch = append(batch, metric{s.name, number(s.value), p.time.UnixMilli(), p.step})
				}
			}
		}
		if len(batch) > 0 {
			yield(batch)
		}
	}
}
