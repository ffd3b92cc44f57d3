package rundir

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

// Commas writes a number with its thousands set apart: 12,345.
func Commas(n int64) string {
	s := strconv.FormatInt(n, 10)
	first := 0
	if n < 0 {
		first = 1
	}
	for i := len(s) - 3; i > first; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// Short writes a count in three digits or so: 950, 12.3K, 1.2M, 6.7B.
func Short(n int64) string {
	return scaled(float64(n), []string{"", "K", "M", "B", "T"})
}

// Bytes writes a size in powers of 1000: 1.5 GB.
func Bytes(n int64) string {
	return scaled(float64(n), []string{" B", " KB", " MB", " GB", " TB", " PB"})
}

// scaled writes x over the largest thousand that leaves at least one, with one
// decimal below 100 except for plain units.
func scaled(x float64, units []string) string {
	unit := 0
	// 999.95 and above would be written as 1000.
	for math.Abs(x) >= 999.5 && unit < len(units)-1 {
		x /= 1000
		unit++
	}
	decimals := 1
	if unit == 0 || math.Abs(x) >= 99.95 {
		decimals = 0
	}
	return strconv.FormatFloat(x, 'f', decimals, 64) + units[unit]
}

// Duration writes a time in its two largest units: 0.4s, 42s, 3m20s, 2h05m,
// 3d04h.
func Duration(d time.Duration) string {
	if d < 9950*time.Millisecond {
		return fmt.Sprintf("%.1fs", max(d, 0).Seconds())
	}
	s := int64(d.Round(time.Second) / time.Second)
	switch m := (s + 30) / 60; { // minutes, rounded, for those that show no seconds
	case s < 60:
		return fmt.Sprintf("%ds", s)
	case s < 3600:
		return fmt.Sprintf("%dm%02ds", s/60, s%60)
	case m < 24*60:
		return fmt.Sprintf("%dh%02dm", m/60, m%60)
	default:
		h := (m + 30) / 60
		return fmt.Sprintf("%dd%02dh", h/24, h%24)
	}
}

// decimal writes x with so many decimals, or so many digits where it is below
// a tenth.
func decimal(x float64, digits int) string {
	switch a := math.Abs(x); {
	case a != 0 && a < 0.001, a >= 1e5:
		return fmt.Sprintf("%.*e", digits-1, x)
	case a != 0 && a < 0.1:
		return fmt.Sprintf("%.*g", digits, x)
	}
	return fmt.Sprintf("%.*f", digits, x)
}
