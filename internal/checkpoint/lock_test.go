package checkpoint

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// lockAndDie locks a run, says so, and holds it until it is killed.
func lockAndDie() {
	_, err := Lock(os.Getenv("CHECKPOINT_TEST_RUN"))
	fmt.Println(err)
	os.Stdin.Read(make([]byte, 1))
	os.Exit(0)
}

func TestLock(t *testing.T) {
	run := filepath.Join(t.TempDir(), "new", "run")
	unlock, err := Lock(run)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Lock(run)
	wantError(t, err, "run directory "+run+" is in use by another process", fmt.Sprint(os.Getpid()), "choose another run.dir")
	unlock()
	unlock, err = Lock(run)
	if err != nil {
		t.Fatalf("after giving it back: %v", err)
	}
	unlock()
}

func TestLockOfAnotherProcess(t *testing.T) {
	run := t.TempDir()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), "CHECKPOINT_TEST_TASK=lock", "CHECKPOINT_TEST_RUN="+run)
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said := make([]byte, 6)
	if n, _ := stdout.Read(said); string(said[:n]) != "<nil>\n" {
		t.Errorf("the other process said %q", said[:n])
	}
	_, err = Lock(run)
	wantError(t, err, "in use by another process, ", fmt.Sprint(cmd.Process.Pid))
	cmd.Process.Kill()
	cmd.Wait()
	unlock, err := Lock(run)
	if err != nil {
		t.Fatalf("after the other process was killed: %v", err)
	}
	unlock()
}
