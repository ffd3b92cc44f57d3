package device

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func find(t *testing.T, name string) Finding {
	t.Helper()
	findings := Diagnose()
	i := slices.IndexFunc(findings, func(f Finding) bool { return f.Name == name })
	if i < 0 {
		t.Fatalf("no finding %q in %+v", name, findings)
	}
	return findings[i]
}

func TestDiagnose(t *testing.T) {
	for _, f := range Diagnose() {
		t.Logf("%+v", f)
		if f.State != OK && f.Fix == "" {
			t.Errorf("%s is %s without a fix", f.Name, f.State)
		}
		if f.Detail == "" || strings.Contains(f.Detail+f.Fix, "\n") {
			t.Errorf("%s has detail %q and fix %q, want a line", f.Name, f.Detail, f.Fix)
		}
	}
	if f := find(t, "pure Go"); f.State != OK {
		t.Errorf("pure Go is %+v", f)
	}
	open(t, CPU) // skips the rest where there is no plugin
	if f := find(t, "XLA CPU plugin"); f.State != OK || !strings.Contains(f.Detail, "PJRT 0.") {
		t.Errorf("the CPU plugin is %+v", f)
	}
}

func TestDiagnoseBrokenPlugins(t *testing.T) {
	text := filepath.Join(t.TempDir(), "plugin.so")
	if err := os.WriteFile(text, []byte("not a library"), 0o600); err != nil {
		t.Fatal(err)
	}
	for kind, name := range map[string]string{CPU: "XLA CPU plugin", CUDA: "XLA CUDA plugin"} {
		variable := "LONGFORM_PJRT_" + strings.ToUpper(kind)
		t.Setenv(variable, text)
		if f := find(t, name); f.State != Broken || !strings.Contains(f.Detail, text) {
			t.Errorf("a text file as plugin is %+v", f)
		}
		t.Setenv(variable, "/nowhere/plugin.so")
		if f := find(t, name); f.State != Missing || !strings.Contains(f.Detail, "/nowhere/plugin.so") {
			t.Errorf("no file as plugin is %+v", f)
		}
	}
}

func TestDriverVersion(t *testing.T) {
	tests := map[string]string{
		"NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15 UTC 2023\nGCC version:  gcc 12.2.0": "535.104.05",
		"NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65  Release Build":                                     "580.65",
		"": "",
	}
	for text, want := range tests {
		if got := driverVersion(text); got != want {
			t.Errorf("version in %q is %q, want %q", text, got, want)
		}
	}
}
