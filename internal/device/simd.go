//go:build goexperiment.simd

package device

const simd = "with SIMD"
