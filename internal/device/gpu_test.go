package device

import (
	"os"
	"path/filepath"
	"testing"
)

func TestMachineMemory(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	account := file("meminfo", "MemTotal:       24117248 kB\nMemFree:        12345678 kB\n")
	const all = 24117248 * 1024
	tests := []struct {
		account string
		limits  []string
		want    int64
	}{
		{account, nil, all},
		{account, []string{file("max", "max\n"), filepath.Join(dir, "none")}, all},
		{account, []string{file("lower", "8589934592\n")}, 8 << 30},
		{account, []string{file("higher", "9223372036854771712\n")}, all},
		{filepath.Join(dir, "none"), []string{file("lower", "8589934592\n")}, 0},
	}
	for _, test := range tests {
		if got, known := machineMemory(test.account, test.limits...); got != test.want || known != (test.want > 0) {
			t.Errorf("with limits %v it is %d, %v; want %d", test.limits, got, known, test.want)
		}
	}
	each(t, func(t *testing.T, d *Device) {
		if limit, known := d.MemoryLimit(); !known || limit < 1<<28 || limit > 1<<46 {
			t.Errorf("%s has %d bytes for programs, known: %v", d.Kind(), limit, known)
		}
		if peak, known := d.Peak(); known {
			t.Errorf("%s is a GPU that can do %+v", d.Kind(), peak)
		}
	})
}
