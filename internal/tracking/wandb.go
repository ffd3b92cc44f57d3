package tracking

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/longform-go/longform/configs"
	"github.com/longform-go/longform/internal/rundir"
)

// wandb writes an offline run of Weights & Biases, which stays one file however
// often the run is resumed: as in the metrics log, what belongs to steps that
// are repeated is cut off.
//
// As with Hugging Face's Trainer, W&B's own step counts the rows, and
// train/global_step is what they are plotted over.
type wandb struct {
	config configs.Config
	dir    rundir.Dir
	after  int

	file *os.File
	size int64 // of the file
	num  int   // records in it
	rows int   // of these, rows of the history
}

const (
	globalStep    = "train/global_step"
	wandbVersion  = "0.70.0" // the oldest reader's, as W&B's own files say
	wandbHeader   = ":W&B\xe1\xbe\x00"
	recordHistory = 2 // field numbers of wandb_internal.proto's Record
	recordSummary = 3
	recordMetric  = 12
	recordRun     = 17
	recordExit    = 18
	recordHeader  = 21
)

// open leaves a file that has what the log has.
func (w *wandb) open() error {
	found, err := fs.Glob(os.DirFS(w.dir.WandB()), "offline-run-*/run-*.wandb")
	if err != nil {
		return err
	}
	if len(found) > 0 {
		err = w.goOn(filepath.Join(w.dir.WandB(), found[0]))
	} else {
		err = w.create()
	}
	if err != nil {
		return err
	}
	logged, err := history(w.dir.Metrics())
	for i, p := range logged {
		if i >= w.rows && p.step <= w.after {
			err = errors.Join(err, w.write(p))
		}
	}
	return err
}

func (w *wandb) create() (err error) {
	now := time.Now()
	id := strings.ToLower(rand.Text()[:8])
	dir := filepath.Join(w.dir.WandB(), fmt.Sprintf("offline-run-%s-%s", now.Format("20060102_150405"), id))
	if err := os.MkdirAll(filepath.Join(dir, "files"), 0o755); err != nil {
		return err
	}
	if w.file, err = os.Create(filepath.Join(dir, "run-"+id+".wandb")); err != nil {
		return err
	}
	return w.begin(id, now)
}

// begin writes what comes before the first row.
func (w *wandb) begin(id string, now time.Time) error {
	if _, err := w.file.WriteString(wandbHeader); err != nil {
		return err
	}
	w.size, w.num, w.rows = int64(len(wandbHeader)), 0, 0
	var config message
	for key, value := range w.config.All() {
		text, err := json.Marshal(value)
		if err != nil {
			return err
		}
		config = config.message(1, message(nil).text(1, key).text(16, string(text)))
	}
	start := message(nil).varint(1, uint64(now.Unix())).varint(2, uint64(now.Nanosecond()))
	run := message(nil).text(1, id).text(3, w.config.Tracking.Experiment).message(4, config).
		text(8, filepath.Base(w.config.Run.Dir)).message(17, start)
	version := message(nil).text(1, "longform").text(2, wandbVersion)
	err := errors.Join(w.append(recordHeader, message(nil).message(1, version)), w.append(recordRun, run))
	const stepSync, defined = 1, 3
	err = errors.Join(err, w.append(recordMetric, message(nil).text(1, globalStep).message(6, message(nil).varint(defined, 1))))
	for _, name := range names() {
		options := message(nil).varint(stepSync, 1).varint(defined, 1)
		err = errors.Join(err, w.append(recordMetric, message(nil).text(1, name).text(4, globalStep).message(6, options)))
	}
	return err
}

// goOn cuts off what belongs to later steps than those done.
func (w *wandb) goOn(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	end, metrics := int64(0), 0
	for kind, r := range wandbRecords(text) {
		if kind == recordHistory {
			if stepOf(r.content) > w.after {
				break
			}
			w.rows++
		}
		if kind == recordMetric {
			metrics++
		}
		if kind == recordHistory || kind == recordMetric {
			end, w.num = r.end, r.number
		}
	}
	if w.file, err = os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0); err != nil {
		return err
	}
	// What was uploaded is to be uploaded again.
	if err := os.Remove(path + ".synced"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if metrics <= len(names()) { // killed while it began
		end = 0
	}
	if err := w.file.Truncate(end); err != nil {
		return err
	}
	w.size = end
	if end == 0 {
		id := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(path), "run-"), ".wandb")
		return w.begin(id, time.Now())
	}
	return nil
}

func (w *wandb) write(p point) error {
	var row, latest message
	item := func(name, json string) {
		row = row.message(1, message(nil).text(2, name).text(16, json))
		latest = latest.message(1, message(nil).text(2, name).text(16, json))
	}
	for _, s := range p.scalars {
		item(s.name, numberText(s.value)) // W&B's JSON has NaN
	}
	item(globalStep, fmt.Sprint(p.step))
	item("_timestamp", fmt.Sprintf("%.6f", seconds(p.time)))
	item("_step", fmt.Sprint(w.rows))
	row = row.message(2, message(nil).varint(1, uint64(w.rows)))
	w.rows++
	// The summary first: the file is cut after a row.
	return errors.Join(w.append(recordSummary, latest), w.append(recordHistory, row))
}

func (w *wandb) close(o Outcome) error {
	var exit message
	if o == Failed {
		exit = exit.varint(1, 1)
	}
	return errors.Join(w.append(recordExit, exit), w.file.Close())
}

func (w *wandb) append(kind protowire.Number, content message) error {
	w.num++
	framed := frame(w.size, message(nil).varint(1, uint64(w.num)).message(kind, content))
	n, err := w.file.Write(framed)
	w.size += int64(n)
	return err
}

// stepOf is the training step of a row of the history.
func stepOf(row []byte) int {
	step := 0
	eachField(row, func(field protowire.Number, item []byte) {
		var name, value []byte
		eachField(item, func(field protowire.Number, text []byte) {
			switch field {
			case 2:
				name = text
			case 16:
				value = text
			}
		})
		if field == 1 && bytes.Equal(name, []byte(globalStep)) {
			_ = json.Unmarshal(value, &step) // ours
		}
	})
	return step
}
