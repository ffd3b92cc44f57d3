package search

import "testing"

// TestStepsEndAtHigh: 3*0.1 is more than 0.3 in floating point, and nothing that is drawn may be more than high, which a
// journal refuses.
func TestStepsEndAtHigh(t *testing.T) {
	for _, ends := range [][2]float64{{0, 0.3}, {0.1, 0.3}, {0.2, 0.3}, {0, 0.6}, {0, 0.7}, {0.2, 0.9}, {0, 1}} {
		p := Parameter{Name: "dropout", Kind: "float", Low: ends[0], High: ends[1], Step: 0.1}
		space := Space{p}
		if err := space.Validate(); err != nil {
			t.Error(err)
			continue
		}
		points, _ := space.Grid()
		highest := 0.0
		for number := range 200 {
			for name, s := range map[string]Sampler{"grid": NewGrid(space), "random": NewRandom(space, 1), "tpe": NewTPE(space, 1)} {
				point, err := s.Sample(number%points, nil)
				x, _ := point[p.Name].(float64)
				if err != nil || x < p.Low || x > p.High {
					t.Fatalf("%v by %s: %v, error %v", ends, name, x, err)
				}
				highest = max(highest, x)
			}
		}
		if highest != p.High {
			t.Errorf("%v: the highest value is %v", ends, highest)
		}
	}
}
