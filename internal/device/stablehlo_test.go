package device

import "testing"

func TestAliasOutputs(t *testing.T) {
	tests := []struct {
		name, program string
		arguments     int
		becomes       map[int]int
		want          string // empty: an error
	}{
		{
			"plain", "module @m {\n  func.func @main(%a: tensor<f32>, %b: tensor<2x3xbf16>) -> (tensor<f32>, tensor<2x3xbf16>) {\n", 2,
			map[int]int{1: 0},
			"module @m {\n  func.func @main(%a: tensor<f32>, %b: tensor<2x3xbf16> {tf.aliasing_output = 0 : i32}) -> (tensor<f32>, tensor<2x3xbf16>) {\n",
		}, {
			"all", "func.func @main(%a: tensor<f32>, %b: tensor<f32>) -> tensor<f32> {", 2,
			map[int]int{0: 1, 1: 0},
			"func.func @main(%a: tensor<f32> {tf.aliasing_output = 1 : i32}, %b: tensor<f32> {tf.aliasing_output = 0 : i32}) -> tensor<f32> {",
		}, {
			"attributes", `func.func @main(%a: tensor<4xf32> { sdy.sharding = #sdy.sharding<@mesh, [{"x", ?}]> }, %b: tensor<4xf32> {` +
				"\n    k = \")}\\\",\",\n    l = 1\n  }) -> tensor<4xf32> {", 2,
			map[int]int{0: 0, 1: 12},
			`func.func @main(%a: tensor<4xf32> { sdy.sharding = #sdy.sharding<@mesh, [{"x", ?}]>, tf.aliasing_output = 0 : i32}, %b: tensor<4xf32> {` +
				"\n    k = \")}\\\",\",\n    l = 1, tf.aliasing_output = 12 : i32}) -> tensor<4xf32> {",
		}, {
			"other functions", "func.func @f(%a: tensor<f32>) -> tensor<f32> {}\nfunc.func @main(%a: tensor<f32>) -> tensor<f32> {}", 1,
			map[int]int{0: 0},
			"func.func @f(%a: tensor<f32>) -> tensor<f32> {}\nfunc.func @main(%a: tensor<f32> {tf.aliasing_output = 0 : i32}) -> tensor<f32> {}",
		},
		{"no main", "func.func @f(%a: tensor<f32>) -> tensor<f32> {}", 1, map[int]int{0: 0}, ""},
		{"other count", "func.func @main(%a: tensor<f32>) -> tensor<f32> {}", 2, map[int]int{0: 0}, ""},
		{"no arguments", "func.func @main() -> tensor<f32> {}", 1, map[int]int{0: 0}, ""},
		{"cut off", "func.func @main(%a: tensor<f32>", 1, map[int]int{0: 0}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := aliasOutputs(test.program, test.arguments, test.becomes)
			if got != test.want || (err != nil) != (test.want == "") {
				t.Errorf("got\n%s\nerror %v, want\n%s", got, err, test.want)
			}
		})
	}
}
