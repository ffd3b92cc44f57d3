package ssh_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/longform-go/longform/internal/launch"
	"github.com/longform-go/longform/internal/launch/launchtest"
	"github.com/longform-go/longform/internal/launch/local"
	"github.com/longform-go/longform/internal/launch/ssh"
	"github.com/longform-go/longform/internal/testneeds"
)

// daemon starts a real sshd on this host, for this user, and returns a configuration by which ssh knows it as the hosts
// one and two.
func daemon(t *testing.T) (config string) {
	t.Helper()
	sshd, err := exec.LookPath("sshd")
	if err != nil {
		sshd = "/usr/sbin/sshd"
	}
	if _, err := os.Stat(sshd); err != nil {
		testneeds.Missing(t, "no sshd to test with; apt-get install openssh-server brings one")
	}
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	for _, key := range []string{"host", "user"} {
		if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file(key)).CombinedOutput(); err != nil {
			t.Fatalf("ssh-keygen: %v\n%s", err, out)
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := listener.Addr().(*net.TCPAddr).Port
	listener.Close()
	write := func(name, text string) {
		if err := os.WriteFile(file(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("sshd_config", fmt.Sprintf(`
ListenAddress 127.0.0.1
Port %d
HostKey %s
AuthorizedKeysFile %s
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
MaxStartups 100
`, port, file("host"), file("user.pub")))
	write("ssh_config", fmt.Sprintf(`
Host one two
	HostName 127.0.0.1
	Port %d
	IdentityFile %s
	IdentitiesOnly yes
	StrictHostKeyChecking no
	UserKnownHostsFile /dev/null
	LogLevel ERROR
`, port, file("user")))
	if os.Getuid() == 0 {
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil { // root's sshd wants it
			t.Fatal(err)
		}
	}
	server := exec.Command(sshd, "-D", "-e", "-f", file("sshd_config"))
	var log strings.Builder
	server.Stderr = &log
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	for range 100 {
		connection, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			connection.Close()
			return file("ssh_config")
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatal("sshd doesn't answer")
	return ""
}

func TestConformance(t *testing.T) {
	config := daemon(t)
	t.Run("launcher", func(t *testing.T) { // its subtests end before the daemon does
		launchtest.Run(t, launchtest.Harness{
			New: func() launch.Launcher {
				return ssh.Launcher{Hosts: []string{"one", "two"}, Config: config, Local: local.Launcher{Restarts: 1, Backoff: time.Second, Grace: 5 * time.Second}}
			},
			NoLimits: true,
			Preempt: func(t *testing.T, id string) {
				_, rest, _ := strings.Cut(id, `"id":"`)
				dir, _, _ := strings.Cut(rest, `"`)
				if out, err := exec.Command("ssh", "-F", config, "one", "kill -USR2 $(cut -d ' ' -f 1 "+dir+"/0.pid)").CombinedOutput(); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
			},
		})
	})
}

// TestUnreachable: a host that isn't there is told of by name, and what others have begun is undone.
func TestUnreachable(t *testing.T) {
	config := daemon(t)
	option := ssh.Launcher{Hosts: []string{"-V"}, Config: config}
	if id, err := option.Submit(t.Context(), launch.Job{Name: "test", Dir: t.TempDir(), Command: []string{"true"}}); err == nil {
		t.Errorf("a host that looks like an option of ssh has the job %s", id)
	}
	dir := t.TempDir()
	l := ssh.Launcher{Hosts: []string{"one", "nowhere.invalid"}, Config: config, Local: local.Launcher{Grace: time.Second}}
	job := launch.Job{Name: "test", Dir: dir, Command: []string{"sleep", "600"}, Array: 2}
	if _, err := l.Submit(t.Context(), job); err == nil || !strings.Contains(err.Error(), "nowhere.invalid") {
		t.Fatalf("error %v, want the host in it", err)
	}
	id := fmt.Sprintf(`[{"host":"one","id":%q}]`, filepath.Join(dir, "launch", "local-1"))
	for range 100 {
		if s, err := l.Status(t.Context(), id); err != nil || s.State == launch.Cancelled {
			if err != nil {
				t.Fatal(err)
			}
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Error("the other host's copy goes on")
}
