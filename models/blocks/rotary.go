package blocks

import (
	"fmt"
	"math"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/compute/shapes"
	. "github.com/gomlx/gomlx/core/graph"
)

// Rope is a rotary position embedding (Su et al., 2021) with the ways of stretching it that the LLaMA family uses. The
// JSON names are those of Hugging Face's rope_parameters.
type Rope struct {
	Type  string  `json:"rope_type"` // default, linear, dynamic, llama3 or yarn
	Theta float64 `json:"rope_theta"`

	Factor          float64 `json:"factor,omitempty"`
	OriginalLength  int     `json:"original_max_position_embeddings,omitempty"`
	LowFreqFactor   float64 `json:"low_freq_factor,omitempty"`  // llama3
	HighFreqFactor  float64 `json:"high_freq_factor,omitempty"` // llama3
	BetaFast        float64 `json:"beta_fast,omitempty"`        // yarn
	BetaSlow        float64 `json:"beta_slow,omitempty"`        // yarn
	AttentionFactor float64 `json:"attention_factor,omitempty"` // yarn
	MScale          float64 `json:"mscale,omitempty"`           // yarn
	MScaleAllDim    float64 `json:"mscale_all_dim,omitempty"`   // yarn
	Truncate        *bool   `json:"truncate,omitempty"`         // yarn
}

// Validate refuses what Rotate could not compute as Hugging Face does.
func (r Rope) Validate() error {
	if r.Theta <= 1 {
		return fmt.Errorf("rope_theta is %v; it must be greater than 1", r.Theta)
	}
	switch r.Type {
	case "default":
		return nil
	case "linear", "dynamic":
	case "llama3":
		if r.LowFreqFactor <= 0 || r.HighFreqFactor <= r.LowFreqFactor {
			return fmt.Errorf("rope llama3 needs 0 < low_freq_factor < high_freq_factor, not %v and %v", r.LowFreqFactor, r.HighFreqFactor)
		}
		if r.OriginalLength <= 0 {
			return fmt.Errorf("rope llama3 needs original_max_position_embeddings")
		}
	case "yarn":
		if r.OriginalLength <= 0 {
			return fmt.Errorf("rope yarn needs original_max_position_embeddings")
		}
	default:
		return fmt.Errorf("rope type %q is not supported (default, linear, dynamic, llama3, yarn are)", r.Type)
	}
	if r.Factor < 1 {
		return fmt.Errorf("rope %s needs a factor of at least 1, not %v", r.Type, r.Factor)
	}
	return nil
}

// Rotation holds the cosines and sines of the positions of one pass, [batch or 1, seq, 1, headDim/2] float32.
type Rotation struct{ cos, sin *Node }

// Rotate computes the rotation of positions [batch or 1, seq] int32 for heads of size headDim. maxLength is the model's
// max_position_embeddings; seen [batch or 1] int32 is the number of tokens so far, which only the dynamic type reads.
func (r Rope) Rotate(positions *Node, headDim, maxLength int, seen *Node) Rotation {
	g := positions.Graph()
	var frequencies *Node // [batch or 1, headDim/2]
	scale := 1.0
	if r.Type == "dynamic" {
		frequencies = r.dynamic(headDim, maxLength, seen)
	} else {
		var static []float32
		static, scale = r.frequencies(headDim)
		frequencies = Const(g, [][]float32{static})
	}
	angles := Mul(ExpandAxes(ConvertDType(positions, dtypes.Float32), -1), ExpandAxes(frequencies, 1))
	angles = ExpandAxes(angles, 2)
	// Without the barrier XLA computes both anew, with a call each on a CPU, for every head of every layer and in both passes:
	// 2% of a step of LLaMA with 4 layers of 256 features.
	cos, sin := both(OptimizationBarriers(MulScalar(Cos(angles), scale), MulScalar(Sin(angles), scale)))
	return Rotation{cos, sin}
}

// Apply rotates x [batch, seq, heads, headDim]: the first half of each head is paired with the second half.
func (r Rotation) Apply(x *Node) *Node {
	half := x.Shape().Dimensions[3] / 2
	x32 := ConvertDType(x, dtypes.Float32)
	a := SliceAxis(x32, 3, AxisRangeFromStart(half))
	b := SliceAxis(x32, 3, AxisRangeToEnd(half))
	rotated := Concatenate([]*Node{
		Sub(Mul(a, r.cos), Mul(b, r.sin)),
		Add(Mul(b, r.cos), Mul(a, r.sin)),
	}, 3)
	return ConvertDType(rotated, x.DType())
}

// frequencies are the angles by which one position turns each pair, and the factor on cosines and sines, as
// transformers' modeling_rope_utils computes them.
func (r Rope) frequencies(headDim int) ([]float32, float64) {
	out := make([]float32, headDim/2)
	scale := 1.0
	var extrapolate func(i int) float64
	if r.Type == "yarn" {
		extrapolate = r.yarnRamp(headDim)
		scale = r.yarnScale()
	}
	for i := range out {
		f := math.Pow(r.Theta, -2*float64(i)/float64(headDim))
		switch r.Type {
		case "linear":
			f /= r.Factor
		case "llama3":
			f = r.llama3(f)
		case "yarn":
			e := extrapolate(i)
			f = f/r.Factor*(1-e) + f*e
		}
		out[i] = float32(f)
	}
	return out, scale
}

// llama3 leaves short wavelengths alone, divides long ones by the factor and blends those between.
func (r Rope) llama3(f float64) float64 {
	length := float64(r.OriginalLength)
	wavelength := 2 * math.Pi / f
	switch {
	case wavelength < length/r.HighFreqFactor:
		return f
	case wavelength > length/r.LowFreqFactor:
		return f / r.Factor
	}
	smooth := (length/wavelength - r.LowFreqFactor) / (r.HighFreqFactor - r.LowFreqFactor)
	return (1-smooth)*f/r.Factor + smooth*f
}

// Divisors are what llama3 divides the frequency of each pair by, [headDim/2]: 1 for the fastest, Factor for the slowest.
func (r Rope) Divisors(headDim int) []float32 {
	out := make([]float32, headDim/2)
	for i := range out {
		f := math.Pow(r.Theta, -2*float64(i)/float64(headDim))
		out[i] = float32(f / r.llama3(f))
	}
	return out
}

// yarnRamp is the share of the original frequency that pair i keeps (Peng et al., 2023): 1 for pairs that turn more than
// beta_fast times over the original length, 0 for those below beta_slow.
func (r Rope) yarnRamp(headDim int) func(i int) float64 {
	fast, slow := orDefault(r.BetaFast, 32), orDefault(r.BetaSlow, 1)
	pairOf := func(turns float64) float64 {
		return float64(headDim) * math.Log(float64(r.OriginalLength)/(turns*2*math.Pi)) / (2 * math.Log(r.Theta))
	}
	low, high := pairOf(fast), pairOf(slow)
	if r.Truncate == nil || *r.Truncate {
		low, high = math.Floor(low), math.Ceil(high)
	}
	low, high = max(low, 0), min(high, float64(headDim-1))
	if low == high {
		high += 0.001
	}
	return func(i int) float64 {
		return 1 - min(max((float64(i)-low)/(high-low), 0), 1)
	}
}

func (r Rope) yarnScale() float64 {
	if r.AttentionFactor != 0 {
		return r.AttentionFactor
	}
	mscale := func(m float64) float64 {
		if r.Factor <= 1 {
			return 1
		}
		return 0.1*m*math.Log(r.Factor) + 1
	}
	if r.MScale != 0 && r.MScaleAllDim != 0 {
		return mscale(r.MScale) / mscale(r.MScaleAllDim)
	}
	return mscale(1)
}

// dynamic grows the base with the number of tokens seen beyond maxLength (NTK-aware scaling): [batch or 1, headDim/2].
func (r Rope) dynamic(headDim, maxLength int, seen *Node) *Node {
	g := seen.Graph()
	d, longest := float64(headDim), float64(maxLength)
	length := MaxScalar(ConvertDType(seen, dtypes.Float32), longest)
	growth := AddScalar(MulScalar(length, r.Factor/longest), -(r.Factor - 1))
	logBase := AddScalar(MulScalar(Log(growth), d/(d-2)), math.Log(r.Theta)) // [batch or 1]
	exponent := MulScalar(Iota(g, shapes.Make(dtypes.Float32, 1, headDim/2), 1), -2/d)
	return Exp(Mul(ExpandAxes(logBase, -1), exponent))
}

func orDefault(v, d float64) float64 {
	if v == 0 {
		return d
	}
	return v
}
