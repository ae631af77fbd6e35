package journal

import (
	"bytes"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func noon() time.Time { return time.Date(2026, 11, 21, 12, 0, 0, 7e6, time.UTC) }

// Each destination gets what it asked for, in its own form.
func TestDestinations(t *testing.T) {
	dir := t.TempDir()
	socket := filepath.Join(dir, "log")
	syslog, err := net.ListenPacket("unixgram", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syslog.Close() }()
	env := map[string]string{"PCMK_logfile": filepath.Join(dir, "pacemaker.log"), "PCMK_logfacility": "local3"}
	var stderr bytes.Buffer
	j := New(Config{
		Stderr: &stderr, StderrLevel: slog.LevelWarn, Tag: "fence_test", PID: 7, Syslog: socket, Level: slog.LevelInfo,
		LookupEnv: func(k string) (string, bool) { v, ok := env[k]; return v, ok }, Now: noon,
	})
	if err := j.Debug(filepath.Join(dir, "debug")); err != nil {
		t.Fatal(err)
	}
	j.Hide("", "abc", "abcdef")
	log := j.Logger()
	log.Debug("quietly")
	log.With("who", "me").WithGroup("g").Info("told", "what", "a b", slog.Group("in", "n", 1))
	log.Warn("beware of abcdef and abc\nERROR: forged\x00")
	j.Fixed("Connection timed out")
	j.Close()

	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	if got, want := stderr.String(), "2026-11-21 12:00:00,007 WARNING: beware of *** and ***; ERROR: forged\n2026-11-21 12:00:00,007 ERROR: Connection timed out\n"; got != want {
		t.Errorf("standard error:\n%s", got)
	}
	if got := read("debug"); strings.Count(got, "\n") != 4 || !strings.Contains(got, "DEBUG: quietly") {
		t.Errorf("debug file:\n%s", got)
	}
	if got := read("pacemaker.log"); strings.Count(got, "\n") != 3 || !strings.Contains(got, `Nov 21 12:00:00.007 fence_test[7]: INFO: told who=me g.what="a b" g.in.n=1`) {
		t.Errorf("log file:\n%s", got)
	}
	buf := make([]byte, 1000)
	n, _, err := syslog.ReadFrom(buf)
	if want := `<158>Nov 21 12:00:00 fence_test[7]: INFO: told`; err != nil || !strings.HasPrefix(string(buf[:n]), want) {
		t.Errorf("%v: system log %q", err, buf[:n])
	}
}

// A destination that is not there, or hangs, costs next to nothing.
func TestBrokenDestinations(t *testing.T) {
	dir := t.TempDir()
	hung, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(dir, "log"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = hung.Close() }()
	for _, socket := range []string{filepath.Join(dir, "none"), filepath.Join(dir, "log"), ""} {
		env := map[string]string{"PCMK_logfile": filepath.Join(dir, "no", "such", "file"), "HA_LOGFACILITY": "nonsense"}
		j := New(Config{Tag: "x", Syslog: socket, LookupEnv: func(k string) (string, bool) { v, ok := env[k]; return v, ok }, Now: time.Now})
		start := time.Now()
		for range 2000 {
			j.Logger().Error("nobody listens")
		}
		j.Close()
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("%q: took %v", socket, took)
		}
	}
	j := New(Config{LookupEnv: func(string) (string, bool) { return "", false }, Now: time.Now})
	if err := j.Debug(filepath.Join(dir, "no", "file")); err == nil {
		t.Error("a debug file in no directory")
	}
}

func TestFacilityNone(t *testing.T) {
	env := map[string]string{"HA_LOGFACILITY": "none"}
	j := New(Config{Syslog: "/dev/log", LookupEnv: func(k string) (string, bool) { v, ok := env[k]; return v, ok }, Now: time.Now})
	if j.cfg.Syslog != "" {
		t.Error("the system log is used although the cluster says none")
	}
}

// A program that lives long outlives its logger: no line is lost once a new one listens.
func TestRestartedLogger(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "log")
	listen := func() *net.UnixConn {
		c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	j := New(Config{Tag: "x", Syslog: socket, LookupEnv: func(string) (string, bool) { return "", false }, Now: time.Now})
	defer j.Close()
	for _, line := range []string{"first", "second"} {
		logger := listen()
		j.Logger().Error(line)
		buf := make([]byte, 1000)
		_ = logger.SetReadDeadline(time.Now().Add(5 * time.Second))
		if n, err := logger.Read(buf); err != nil || !strings.Contains(string(buf[:n]), line) {
			t.Errorf("%s: %q, %v", line, buf[:n], err)
		}
		_ = logger.Close()
		_ = os.Remove(socket)
	}
	j.Logger().Error("nobody listens")
	if j.conn != nil || j.muted.IsZero() {
		t.Error("a missing logger is asked again for every line")
	}
}
