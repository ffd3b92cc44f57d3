// Package device runs gomlx programs on a GPU, on the CPU through XLA, or in pure Go, and says what gomlx can't: which
// input's memory each output takes over, how much memory a program needs, and when device memory is freed.
//
// XLA comes as PJRT plugins, shared libraries that are found and loaded here (see find.go). The seam (seam.h) stands
// between go-xla and a plugin's compile function. On the CPU it makes products of a few rows calls of few.c, which is faster.
package device

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/gomlx/compute"
	"github.com/gomlx/compute/gobackend"
	"github.com/gomlx/go-xla/compute/xla"
	"k8s.io/klog/v2"

	"github.com/longform-go/longform/internal/cache"
)

// The kinds of device, and Auto for the first of them that works.
const (
	Auto = "auto"
	CUDA = "cuda" // an NVIDIA GPU through XLA
	CPU  = "cpu"  // the CPU through XLA
	Go   = "go"   // the CPU in pure Go: nothing to install, some 25 times slower
)

// Option changes how a device is opened.
type Option string

// WithoutTF32 makes float32 matrix products on a GPU exact to float32: by default their inputs are rounded to TF32's
// 10 bits of mantissa, which is faster. Other devices are always exact.
const WithoutTF32 Option = "tf32=false"

// Device is one opened device.
type Device struct {
	kind    string
	backend compute.Backend // nil once closed
	plugin  *plugin         // nil for Go
	cache   *cache.Cache    // nil where compiled programs aren't kept
	notes   []string
	client  *client                 // nil for Go
	target  string                  // description of a GPU that isn't here; empty if the device is
	last    atomic.Pointer[Program] // that was run
	most    int64                   // bytes that the process may take before programs on the CPU make room; 0 sets no limit
}

// Open opens the device of a kind, or the best that works for "auto" (or ""). Its errors are one line and say what is
// missing and how to get it.
func Open(kind string, options ...Option) (*Device, error) {
	quiet()
	switch kind {
	case CUDA, CPU:
		return openXLA(kind, options)
	case Go:
		return openGo()
	case Auto, "":
	default:
		return nil, fmt.Errorf("no device %q: it is one of auto, cuda, cpu, go", kind)
	}
	var notes []string
	for _, k := range []string{CUDA, CPU} {
		d, err := openXLA(k, options)
		if err == nil {
			d.notes = append(notes, d.notes...)
			return d, nil
		}
		notes = append(notes, err.Error())
	}
	d, err := openGo()
	if err == nil {
		d.notes = notes
	}
	return d, err
}

func openXLA(kind string, options []Option) (d *Device, err error) {
	defer recovered(&err, "device %s", kind)
	if kind == CUDA && !hasLibrary(cudaDriver) {
		return nil, fmt.Errorf("device cuda: no NVIDIA driver (%s not found); %s", cudaDriver, driverFix)
	}
	path, err := findPlugin(kind)
	if err != nil {
		return nil, fmt.Errorf("device %s: %w; %s", kind, err, pluginFix(kind))
	}
	p, err := loadPlugin(kind, path)
	if err != nil {
		return nil, fmt.Errorf("device %s: %w", kind, err)
	}
	config := p.name
	if kind == CUDA {
		config += memoryOptions
		for _, o := range options {
			config += "," + string(o)
		}
	}
	opening.Lock()
	defer opening.Unlock()
	backend, err := xla.NewWithOptions(config, nil)
	if err != nil {
		return nil, fmt.Errorf("device %s: %s", kind, oneLine(err.Error()))
	}
	d = &Device{kind: kind, backend: backend, plugin: p, client: newestClient(p)}
	if limit, known := thisMachine(); known && kind == CPU {
		d.most = limit / 2 // it isn't ours alone
	}
	if d.cache, err = openCache(); err != nil {
		d.notes, err = append(d.notes, err.Error()+"; "+cache.Fix), nil
	}
	return d, nil
}

// opening is held while a plugin makes a client, until it is known which is the newest.
var opening sync.Mutex

func openGo() (*Device, error) {
	// The default scheduler runs operations in parallel and can deadlock.
	backend, err := gobackend.New("ops_sequential")
	if err != nil {
		return nil, fmt.Errorf("device go: %s", oneLine(err.Error()))
	}
	return &Device{kind: Go, backend: backend}, nil
}

// quiet keeps gomlx and XLA from logging to standard error, and gomlx from installing plugins by itself.
var quiet = sync.OnceFunc(func() {
	if os.Getenv("TF_CPP_MIN_LOG_LEVEL") == "" {
		_ = os.Setenv("TF_CPP_MIN_LOG_LEVEL", "1") // warnings and up
	}
	xla.EnableAutoInstall(false)
	klog.SetSlogLogger(slog.New(slog.DiscardHandler))
})

// Kind is "cuda", "cpu" or "go".
func (d *Device) Kind() string { return d.kind }

// Description says in one line what the device is.
func (d *Device) Description() string {
	switch {
	case d.backend == nil:
		return d.kind + " (closed)"
	case d.plugin == nil:
		return "CPU, pure Go " + simd
	}
	name := "CPU"
	if d.kind == CUDA {
		name = d.gpuName()
	}
	if d.Target() {
		name += ", which isn't here"
	}
	return fmt.Sprintf("%s, XLA (%s, %s)", name, d.plugin.version(), d.plugin.path)
}

// Notes says why the device is less than it could be, a line a reason: why better ones weren't taken, for a device opened
// as "auto", and why compiled programs aren't kept.
func (d *Device) Notes() []string { return d.notes }

// Close frees the device with all its buffers. Using one of them afterwards is an error.
func (d *Device) Close() {
	if d == nil || d.backend == nil {
		return
	}
	d.backend.Finalize()
	d.backend = nil
}

// recovered turns what gomlx panicked with into *err. Deferred, with what was being done.
func recovered(err *error, format string, args ...any) {
	r := recover()
	if r == nil {
		return
	}
	*err = fmt.Errorf("%s: %s", fmt.Sprintf(format, args...), oneLine(fmt.Sprint(r)))
}

// oneLine folds a message into one line of readable length: compilers answer with pages.
func oneLine(message string) string {
	const longest = 600
	line := strings.Join(strings.Fields(message), " ")
	if runes := []rune(line); len(runes) > longest {
		line = string(runes[:longest]) + "…"
	}
	return line
}
