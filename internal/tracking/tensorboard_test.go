package tracking

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/longform-go/longform/configs"
	"github.com/longform-go/longform/internal/rundir"
	"github.com/longform-go/longform/internal/testneeds"
)

// What TensorBoard itself makes of a directory: every scalar's steps and values, the text, and the settings it compares runs by.
const readEvents = `
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator, STORE_EVERYTHING_SIZE_GUIDANCE
from tensorboard.plugins.hparams import metadata
from tensorboard.util import tensor_util
from google.protobuf.json_format import MessageToDict
events = EventAccumulator(sys.argv[1], STORE_EVERYTHING_SIZE_GUIDANCE).Reload()
tags = events.Tags()
hparams = {}
content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
for name, value in MessageToDict(metadata.parse_session_start_info_plugin_data(content))["hparams"].items():
    hparams[name] = value
print(json.dumps({
    "scalars": {tag: [[e.step, repr(e.value)] for e in events.Scalars(tag)] for tag in tags["scalars"]},
    "text": {tag: tensor_util.make_ndarray(events.Tensors(tag)[0].tensor_proto).item().decode()
        for tag in tags["tensors"] if events.SummaryMetadata(tag).plugin_data.plugin_name == "text"},
    "hparams": hparams,
}))`

type board struct {
	Scalars map[string][][2]any
	Text    map[string]string
	HParams map[string]any
}

func TestTensorBoardReadsOurs(t *testing.T) {
	python := testneeds.Python(t, "tensorboard")
	tests := []struct {
		name string
		log  func(t *testing.T, c configs.Config)
	}{
		{"never interrupted", func(t *testing.T, c configs.Config) {
			r := start(t, c, 0)
			r.steps(1, 12)
			r.end(Finished)
			r.quiet()
		}},
		{"resumed twice", func(t *testing.T, c configs.Config) {
			for _, part := range [][2]int{{0, 9}, {4, 10}, {8, 12}} { // all in the same second
				r := start(t, c, part[0])
				r.steps(part[0]+1, part[1])
				r.quiet() // and killed
			}
		}},
		{"torn by the kill", func(t *testing.T, c configs.Config) {
			r := start(t, c, 0)
			r.steps(1, 9)
			files, _ := filepath.Glob(filepath.Join(rundir.Dir(c.Run.Dir).TensorBoard(), "*"))
			info, err := os.Stat(files[0])
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(files[0], info.Size()-20); err != nil {
				t.Fatal(err)
			}
			r = start(t, c, 8)
			r.steps(9, 12)
			r.quiet()
		}},
		{"wanted from the middle on", func(t *testing.T, c configs.Config) {
			without := c
			without.Tracking.TensorBoard = false
			r := start(t, without, 0)
			r.steps(1, 9)
			r.end(Stopped)
			r = start(t, c, 8)
			r.steps(9, 12)
			r.end(Finished)
			r.quiet()
		}},
		{"wanted after the end", func(t *testing.T, c configs.Config) {
			without := c
			without.Tracking.TensorBoard = false
			r := start(t, without, 0)
			r.steps(1, 12)
			r.end(Finished)
			r = start(t, c, 12)
			r.end(Finished)
			r.quiet()
		}},
	}
	want := map[string][][2]any{}
	for i := 1; i <= 12; i++ {
		s := float64(i)
		for tag, x := range map[string]float64{
			"train/loss": float64(loss(i)), "train/grad_norm": 1, "train/learning_rate": 1e-3 / s,
			"train/epoch": s / 7, "train/tokens": 100 * s, "train/tokens_per_second": 1000,
		} {
			want[tag] = append(want[tag], [2]any{s, repr(x)})
		}
		if i%4 == 0 {
			want["eval/loss"] = append(want["eval/loss"], [2]any{s, repr(evalLoss(i))})
		}
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := rundir.Dir(t.TempDir())
			c := config(dir, configs.Tracking{TensorBoard: true, Experiment: "e"})
			test.log(t, c)
			var got board
			ask(t, &got, python, readEvents, dir.TensorBoard())
			for tag, values := range got.Scalars {
				for i, v := range values {
					var x float64
					fmt.Sscan(v[1].(string), &x)
					got.Scalars[tag][i][1] = repr(x)
				}
			}
			if !reflect.DeepEqual(got.Scalars, want) {
				t.Errorf("scalars %v\nwant %v", got.Scalars, want)
			}
			yaml, err := c.YAML()
			if err != nil {
				t.Fatal(err)
			}
			if text := strings.ReplaceAll("\n"+got.Text["config/text_summary"], "\n    ", "\n")[1:]; text != string(yaml) {
				t.Errorf("text %s\nwant %s", text, yaml)
			}
			for key, value := range map[string]any{
				"optim.lr": 1e-5, "run.batch_size": 8.0, "checkpoint.async": true, "model.lora.enabled": false, "optim.kind": "adamw", "data.train": "[a.jsonl, b.jsonl]",
			} {
				if got.HParams[key] != value {
					t.Errorf("hparams: %s is %v, want %v", key, got.HParams[key], value)
				}
			}
		})
	}
}

// repr compares floats in the precision that event files have; NaN too.
func repr(x float64) string { return fmt.Sprint(float32(x)) }

func TestTensorBoardWithoutADirectory(t *testing.T) {
	dir := rundir.Dir(t.TempDir())
	if err := os.WriteFile(dir.TensorBoard(), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	r := start(t, config(dir, configs.Tracking{TensorBoard: true, Experiment: "e"}), 0)
	r.steps(1, 5)
	r.end(Finished)
	if len(r.warnings) != 1 {
		t.Fatalf("%d warnings, want one", len(r.warnings))
	}
	if text := <-r.warnings; !strings.Contains(text, dir.TensorBoard()) || !strings.Contains(text, "training goes on") {
		t.Errorf("warned %q", text)
	}
}

func TestNothingIsWrittenBeforeTheFirstRecord(t *testing.T) {
	dir := rundir.Dir(t.TempDir())
	trackers := Open(config(dir, configs.Tracking{TensorBoard: true, WandB: true, MLflow: "http://127.0.0.1:1", Experiment: "e"}), dir, 0, func(text string) { t.Error(text) })
	trackers.Close(Failed)
	if files, _ := os.ReadDir(string(dir)); len(files) > 0 {
		t.Errorf("left %v", files)
	}
}
