package training

import (
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/longform-go/longform/configs"
	"github.com/longform-go/longform/internal/device"
)

var recipes = flag.Bool("recipes", false, "compile the steps of all recipes for an H100, which takes minutes")

// Every recipe's step fits an H100 of 80 GB, needs what the recipe says, updates its state in place, has its attention in
// one kernel where that is right, and never holds the logits of a whole batch. Run with: make recipes
func TestRecipesOnH100(t *testing.T) {
	if !*recipes {
		t.Skip("compiling all recipes takes minutes; run make recipes")
	}
	for _, name := range configs.Recipes() {
		if !strings.HasPrefix(name, "longform-") {
			continue // no model of a known size
		}
		t.Run(name, func(t *testing.T) {
			c, err := configs.Load(name, []string{"run.dir=" + t.TempDir()})
			if err != nil {
				t.Fatal(err)
			}
			d, err := device.OpenTarget("h100")
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			s, shape, err := planned(c, d)
			if err != nil {
				t.Fatal(err)
			}
			defer s.close()
			p, err := s.planCompiled(c, shape)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%.1f GB: %.1f GB of arguments, %.1f GB of temporaries, %.0f TFLOP of the model, %.0f of the program",
				float64(p.PeakBytes)/1e9, float64(p.ArgumentBytes)/1e9, float64(p.TemporaryBytes)/1e9, p.ModelFLOPs/1e12, p.ProgramFLOPs/1e12)
			if !p.Fits {
				t.Errorf("it needs %d bytes of %d", p.PeakBytes, p.LimitBytes)
			}
			if said := 1e9 * neededGB(t, name); math.Abs(float64(p.PeakBytes)-said) > 0.02*said {
				t.Errorf("it needs %.1f GB, and its first lines say %.1f", float64(p.PeakBytes)/1e9, said/1e9)
			}
			if p.AliasBytes*100 < p.StateBytes*99 || p.Copies > 0 {
				t.Errorf("%d of %d bytes of state are updated in place, with %d copies", p.AliasBytes, p.StateBytes, p.Copies)
			}
			if learned := s.spec.Config.Family() == "t5"; p.FusedAttention == learned || learned != (len(p.Unfused) > 0) {
				t.Errorf("attention fused: %v, reasons why not: %q", p.FusedAttention, p.Unfused)
			}
			if p.ProgramFLOPs < 0.9*p.ModelFLOPs || p.ProgramFLOPs > 1.5*p.ModelFLOPs {
				t.Errorf("the program computes %.3g operations, and the model asks for %.3g", p.ProgramFLOPs, p.ModelFLOPs)
			}
			for cut, program := range s.programs {
				text, err := program.Optimized()
				if err != nil {
					t.Fatal(err)
				}
				vocabulary := s.spec.Config.Vocabulary()
				logits := cut.Rows * cut.TargetLength * vocabulary
				if found := s.withLogits(text, vocabulary, logits); found != "" {
					t.Errorf("an array %s holds the logits of %s tokens", found, cut)
				}
			}
		})
	}
}

var needed = regexp.MustCompile(`(?m)^# Needs (.*) GB of GPU memory, as train plan --target h100 says\.$`)

// neededGB is the figure in the first lines of a recipe.
func neededGB(t *testing.T, recipe string) float64 {
	text, err := os.ReadFile(filepath.Join("../../configs", recipe+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	said := needed.FindSubmatch(text)
	if said == nil {
		t.Fatalf("no line like %s", needed)
	}
	figure, err := strconv.ParseFloat(string(said[1]), 64)
	if err != nil {
		t.Fatal(err)
	}
	return figure
}

var arrays = regexp.MustCompile(`[a-z]+\d*\[([\d,]+)\]`)

// withLogits finds an array with a dimension of the vocabulary and at least so many elements, but for those in the shape of
// a weight, which with [vocab, embed] may be as large.
func (s *stepper) withLogits(program string, vocabulary, elements int) string {
	weights := map[string]bool{}
	for _, w := range s.spec.Weights {
		weights[strings.Trim(strings.ReplaceAll(fmt.Sprint(w.Shape), " ", ","), "[]")] = true
	}
	for _, m := range arrays.FindAllStringSubmatch(program, -1) {
		if weights[m[1]] {
			continue
		}
		size, has := 1, false
		for _, d := range strings.Split(m[1], ",") {
			n, _ := strconv.Atoi(d)
			size *= n
			has = has || n == vocabulary
		}
		if has && size >= elements {
			return m[0]
		}
	}
	return ""
}
