package training

import (
	"path/filepath"
	"testing"

	"github.com/longform-go/longform/internal/device"
	"github.com/longform-go/longform/internal/device/devicetest"
	"github.com/longform-go/longform/internal/pretrained"
)

// From an adapter of PEFT's, five steps go as PEFT's do, on the weights and on what 4 bits keep of them (testdata of
// internal/pretrained).
func TestLoRATrajectory(t *testing.T) {
	for _, test := range []struct{ quantize, expected string }{{"none", "expected.json"}, {"nf4", "qlora.json"}} {
		t.Run(test.quantize, func(t *testing.T) { loraTrajectory(t, test.quantize, test.expected) })
	}
}

func loraTrajectory(t *testing.T, quantize, file string) {
	d := devicetest.Open(t, device.CPU)
	for _, family := range families {
		t.Run(family, func(t *testing.T) {
			dir := filepath.Join("../pretrained/testdata", family+"-lora")
			var expected struct {
				Losses []float64
				Norms  []float64 `json:"grad_norms"`
			}
			readJSON(t, filepath.Join(dir, file), &expected)
			r := start(t, d, config(t, family, "run.steps=5", "optim.lr=1e-2", "data.buckets=192",
				"model.lora.enabled=true", "model.lora.rank=2", "model.lora.alpha=8", "model.quantize="+quantize))
			source, err := pretrained.Find(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer source.Close()
			p, err := source.Load(d, r.setup.Spec, 0)
			if err != nil {
				t.Fatal(err)
			}
			r.stepper.restoreTo(t, state{contents(t, p.Values), contents(t, r.stepper.state)})
			p.Free()
			frozen := contents(t, r.stepper.parameters)
			train(t, r)
			got, norms := losses(t, r)
			t.Logf("worst difference: loss %.1e, gradient norm %.1e", worst(expected.Losses, got), worst(expected.Norms, norms))
			if worst(expected.Losses, got) > 1e-4 || worst(expected.Norms, norms) > 1e-3 {
				t.Errorf("losses %v and norms %v, PEFT %v and %v", got, norms, expected.Losses, expected.Norms)
			}
			after := contents(t, r.stepper.parameters)
			for i, w := range r.setup.Spec.Weights {
				if same := string(frozen[i]) == string(after[i]); same != w.Frozen {
					t.Errorf("%s: frozen %v, unchanged %v", w.Name, w.Frozen, same)
				}
			}
			checkInPlace(t, r.stepper)
		})
	}
}
