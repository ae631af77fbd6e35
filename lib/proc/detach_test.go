package proc

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What is detached has a session and nothing of ours, and goes on without being waited for.
func TestDetach(t *testing.T) {
	t.Setenv("OCF_RESKEY_password", "secret")
	dir := t.TempDir()
	open, err := os.Open(dir) // a descriptor that it must not get
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = open.Close() }()
	report := filepath.Join(dir, "report")
	pid, err := OS{}.Detach(Cmd{Path: "sh", Args: []string{
		"-c", `cut -d' ' -f6 /proc/$$/stat > "$0.part"; ls -l /proc/$$/fd >> "$0.part"; env >> "$0.part"; pwd >> "$0.part"; mv "$0.part" "$0"`, report,
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = unix.Wait4(pid, nil, 0, nil) }()
	var text string
	for end := time.Now().Add(10 * time.Second); text == ""; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it left no report")
		}
		if b, err := os.ReadFile(report); err == nil {
			text = string(b)
		}
	}
	session, rest, _ := strings.Cut(text, "\n")
	if session != strconv.Itoa(pid) {
		t.Errorf("process %d is in session %s", pid, session)
	}
	if strings.Contains(rest, "secret") || strings.Contains(rest, " -> "+dir+"\n") {
		t.Errorf("it has something of ours:\n%s", rest)
	}
	for _, fd := range []string{"0", "2"} { // the shell has its report as 1 here
		if !strings.Contains(rest, " "+fd+" -> "+os.DevNull) {
			t.Errorf("descriptor %s leads elsewhere:\n%s", fd, rest)
		}
	}
	if !strings.HasSuffix(rest, "\n/\n") {
		t.Errorf("it works elsewhere than in /:\n%s", rest)
	}
}

func TestDetachNothing(t *testing.T) {
	if pid, err := (OS{}).Detach(Cmd{Path: "/nonexistent/program"}); err == nil {
		t.Errorf("process %d was started", pid)
	}
	if _, err := (OS{}).Detach(Cmd{Path: "no-such-program-anywhere"}); err == nil {
		t.Error("a program that is nowhere was started")
	}
}
