//go:build !goexperiment.simd

package device

const simd = "without SIMD"
