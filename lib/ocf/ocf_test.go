package ocf

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgrex/lib/meta"
)

func sampleMeta() meta.Agent {
	return meta.Agent{
		Name: "sample", Version: "1.0", Short: "a sample", Long: "Nothing.",
		Parameters: []meta.Parameter{
			{Name: "port", Type: meta.Integer, Default: "5432", Short: "port", Long: "Number."},
			{Name: "word", Type: meta.String, Secret: true, Short: "secret", Long: "Hidden."},
		},
		Actions: []meta.Action{
			{Name: "start", Timeout: 60 * time.Second},
			{Name: "stop", Timeout: 60 * time.Second},
			{Name: "monitor", Timeout: 10 * time.Second, Interval: 10 * time.Second},
			{Name: "meta-data", Timeout: 5 * time.Second},
		},
	}
}

// outcome is what the manager sees of one call.
type outcome struct {
	code           Code
	stdout, stderr string
}

// call runs one action of an agent whose start, stop and monitor are h.
func call(t *testing.T, h func(context.Context, *Call) error, env map[string]string, args ...string) outcome {
	t.Helper()
	a := Agent{Meta: sampleMeta(), Handlers: map[string]func(context.Context, *Call) error{"start": h, "stop": h, "monitor": h}}
	var stdout, stderr bytes.Buffer
	code := a.Run(t.Context(), Process{
		Args: args, Stdout: &stdout, Stderr: &stderr, PID: 77,
		LookupEnv: func(k string) (string, bool) { s, ok := env[k]; return s, ok },
		Now:       func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 6_000_000, time.UTC) },
		Syslog:    env["test_syslog"],
	})
	return outcome{code, stdout.String(), stderr.String()}
}

func fine(context.Context, *Call) error { return nil }

func TestCommandLine(t *testing.T) {
	tests := []struct {
		args           []string
		code           Code
		stdout, stderr string // parts
	}{
		{nil, ErrGeneric, "", "usage: sample ACTION"},
		{[]string{"no_cmd"}, ErrUnimplemented, "", `no action "no_cmd"`},
		{[]string{"promote"}, ErrUnimplemented, "", "no action"},
		{[]string{"help"}, ErrUnimplemented, "", "no action"},
		{[]string{"usage"}, OK, "OCF_RESKEY_", ""},
		{[]string{"--help"}, OK, "usage: sample ACTION", ""},
		{[]string{"--version"}, OK, "commit", ""},
		{[]string{"--bogus"}, ErrArgs, "", "bogus"},
		{[]string{"methods"}, OK, "monitor\n", ""},
		{[]string{"meta-data"}, OK, "<resource-agent ", ""},
		{[]string{"start"}, OK, "", ""},
		{[]string{"start", "more", "--words"}, OK, "", ""},
		{[]string{"validate-all"}, OK, "", ""},
		{[]string{"status"}, OK, "", ""},
	}
	for _, tt := range tests {
		got := call(t, fine, nil, tt.args...)
		if got.code != tt.code || !strings.Contains(got.stdout, tt.stdout) || !strings.Contains(got.stderr, tt.stderr) {
			t.Errorf("%v: %+v, want %v", tt.args, got, tt)
		}
		if tt.stderr == "" && got.stderr != "" {
			t.Errorf("%v says %q on stderr", tt.args, got.stderr)
		}
	}
}

func TestMetaDataDialect(t *testing.T) {
	plain := call(t, fine, nil, "meta-data").stdout
	older := call(t, fine, map[string]string{"OCF_RA_VERSION_MAJOR": "1", "OCF_RA_VERSION_MINOR": "0"}, "meta-data").stdout
	full := call(t, fine, map[string]string{"OCF_RA_VERSION_MAJOR": "1", "OCF_RA_VERSION_MINOR": "1"}, "meta-data").stdout
	if plain != older || plain == full || !strings.Contains(full, "reloadable=") {
		t.Errorf("plain %q\nolder %q\nfull %q", plain, older, full)
	}
}

func TestOutcomes(t *testing.T) {
	const stamp = "Jan  2 03:04:05.006 "
	cause := errors.New("no such file")
	tests := []struct {
		name   string
		err    error
		code   Code
		stderr string
	}{
		{"nil", nil, OK, ""},
		{"status", Status(NotRunning), NotRunning, ""},
		{"status ok", Status(OK), OK, ""},
		{"promoted", Status(RunningPromoted), RunningPromoted, ""},
		{"plain error", cause, ErrGeneric, stamp + "ERROR: no such file action=start code=1\nocf-exit-reason:no such file\n"},
		{"coded", Errorf(ErrInstalled, "pg_ctl: %w", cause), ErrInstalled, stamp + "ERROR: pg_ctl: no such file action=start code=5\nocf-exit-reason:pg_ctl: no such file\n"},
		{"wrapped", fmt.Errorf("start: %w", Errorf(ErrPerm, "denied")), ErrPerm, stamp + "ERROR: start: denied action=start code=4\nocf-exit-reason:start: denied\n"},
		{"explained answer", Errorf(NotRunning, "it died"), NotRunning, stamp + "WARNING: it died\nocf-exit-reason:it died\n"},
		{"degraded", Errorf(DegradedPromoted, "no standby"), DegradedPromoted, stamp + "WARNING: no standby\nocf-exit-reason:no standby\n"},
		{"two lines", errors.New("one\ntwo\n"), ErrGeneric, stamp + "ERROR: one; two action=start code=1\nocf-exit-reason:one; two\n"},
		{"time out is not absence", Errorf(ErrInstalled, "look-up: %w", context.DeadlineExceeded), ErrGeneric, stamp + "ERROR: look-up: context deadline exceeded action=start code=1\nocf-exit-reason:look-up: context deadline exceeded\n"},
		{"time out of a promoted one", Errorf(FailedPromoted, "query: %w", context.DeadlineExceeded), FailedPromoted, stamp + "ERROR: query: context deadline exceeded action=start code=9\nocf-exit-reason:query: context deadline exceeded\n"},
	}
	for _, tt := range tests {
		got := call(t, func(context.Context, *Call) error { return tt.err }, nil, "start")
		if got.code != tt.code || got.stderr != tt.stderr || got.stdout != "" {
			t.Errorf("%s: %+v\nwant %d, %q", tt.name, got, tt.code, tt.stderr)
		}
	}
}

func TestPanic(t *testing.T) {
	got := call(t, func(context.Context, *Call) error {
		var none []int
		none[len(none)]++
		return nil
	}, nil, "stop")
	if got.code != ErrGeneric || strings.Count(got.stderr, "\n") != 2 || !strings.Contains(got.stderr, "index out of range [0] with length 0 at pgrex/lib/ocf.TestPanic") {
		t.Errorf("%+v", got)
	}
}

func TestDeadline(t *testing.T) {
	env := map[string]string{"OCF_RESKEY_CRM_meta_timeout": "200"}
	start := time.Now()
	polite := call(t, func(ctx context.Context, _ *Call) error {
		<-ctx.Done()
		return fmt.Errorf("waiting for recovery: %w", ctx.Err())
	}, env, "start")
	if polite.code != ErrGeneric || !strings.Contains(polite.stderr, "waiting for recovery: context deadline exceeded (start did not end within 180ms") {
		t.Errorf("%+v", polite)
	}
	stuck := make(chan struct{})
	defer close(stuck)
	rude := call(t, func(context.Context, *Call) error { <-stuck; return nil }, env, "start")
	if rude.code != ErrGeneric || !strings.Contains(rude.stderr, "ocf-exit-reason:start did not end within 180ms") {
		t.Errorf("%+v", rude)
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("both took %s", took)
	}
}

func TestRedaction(t *testing.T) {
	env := map[string]string{"OCF_RESKEY_word": "s3cret", "HA_debug": "1", "OCF_EXIT_REASON_PREFIX": "why:"}
	got := call(t, func(_ context.Context, c *Call) error {
		c.Log.Debug("dialling", "dsn", "password=s3cret host=x")
		c.Log.With("password", "s3cret").WithGroup("g").Info("tried", "n", 1)
		// What is learnt on the way.
		c.Hide("t0ken")
		c.Log.Info("with t0ken")
		return Errorf(ErrGeneric, "login with s3cret failed")
	}, env, "start")
	if strings.Contains(got.stderr, "s3cret") || strings.Contains(got.stderr, "t0ken") || strings.Count(got.stderr, "***") != 5 || !strings.Contains(got.stderr, "\nwhy:login with *** failed\n") {
		t.Errorf("%s", got.stderr)
	}
	if !strings.Contains(got.stderr, "INFO: tried password=*** g.n=1") || !strings.Contains(got.stderr, "DEBUG: dialling") {
		t.Errorf("%s", got.stderr)
	}
}

func TestLogDestinations(t *testing.T) {
	dir := t.TempDir()
	sock := filepath.Join(dir, "log")
	conn, err := net.ListenPacket("unixgram", sock)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	file := filepath.Join(dir, "pacemaker.log")
	env := map[string]string{"test_syslog": sock, "PCMK_logfile": file, "HA_LOGFACILITY": "local3", "OCF_RESOURCE_INSTANCE": "pg:1"}
	call(t, func(_ context.Context, c *Call) error { c.Log.Warn("look", "at", "this one"); return nil }, env, "start")

	buf := make([]byte, 500)
	if err := conn.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	n, _, err := conn.ReadFrom(buf)
	// 19 is local3, 4 is warning.
	if want := "<156>Jan  2 03:04:05 sample(pg:1)[77]: WARNING: look at=\"this one\" (at 05.006)"; err != nil || string(buf[:n]) != want {
		t.Errorf("syslog got %q, %v, want %q", buf[:n], err, want)
	}
	b, err := os.ReadFile(file)
	if want := "Jan  2 03:04:05.006 sample(pg:1)[77]: WARNING: look at=\"this one\"\n"; err != nil || string(b) != want {
		t.Errorf("log file has %q, %v", b, err)
	}
}

// A system log that takes no more must not hold up an action.
func TestHangingSyslog(t *testing.T) {
	sock := filepath.Join(t.TempDir(), "log")
	conn, err := net.ListenPacket("unixgram", sock)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	start := time.Now()
	got := call(t, func(_ context.Context, c *Call) error {
		for i := range 2000 {
			c.Log.Info("line", "n", i)
		}
		return nil
	}, map[string]string{"test_syslog": sock}, "start")
	if took := time.Since(start); got.code != OK || took > 2*time.Second {
		t.Errorf("code %d after %s", got.code, took)
	}
}

func TestNewCall(t *testing.T) {
	env := map[string]string{
		"OCF_RESOURCE_INSTANCE": "pgsql:1", "OCF_CHECK_LEVEL": "10",
		"OCF_RESKEY_port": "5433", "OCF_RESKEY_crm_feature_set": "3.16.2",
		"OCF_RESKEY_CRM_meta_on_node": "n1", "OCF_RESKEY_CRM_meta_interval": "9000", "OCF_RESKEY_CRM_meta_timeout": "60000",
		"OCF_RESKEY_CRM_meta_promotable": "true", "OCF_RESKEY_CRM_meta_notify": "true", "OCF_RESKEY_CRM_meta_master_max": "1",
	}
	build := func(action string, change map[string]string) *Call {
		e := maps.Clone(env)
		for k, v := range change {
			if v == "-" {
				delete(e, k)
			} else {
				e[k] = v
			}
		}
		return NewCall(sampleMeta(), action, func(k string) (string, bool) { s, ok := e[k]; return s, ok }, nil)
	}
	c := build("monitor", nil)
	if c.Resource != "pgsql" || c.Instance != "pgsql:1" || c.CheckLevel != 10 || c.Params.Int("port") != 5433 || !c.InCluster ||
		c.Node != "n1" || c.Interval != 9*time.Second || c.Timeout != time.Minute || !c.Promotable || !c.NotifyOn || c.PromotedMax != 1 || c.Probe || c.ParamErr != nil {
		t.Errorf("%+v", c)
	}
	if !build("monitor", map[string]string{"OCF_RESKEY_CRM_meta_interval": "0"}).Probe {
		t.Error("interval 0 is a probe")
	}
	if !build("monitor", map[string]string{"OCF_RESKEY_CRM_meta_interval": "-"}).Probe {
		t.Error("Pacemaker's probe, which has no interval, is none")
	}
	for name, change := range map[string]map[string]string{
		"a start":                    {"action": "start", "OCF_RESKEY_CRM_meta_interval": "0"},
		"another action":             {"action": "stop", "OCF_RESKEY_CRM_meta_interval": "-"},
		"crm_resource --force-check": {"OCF_RESKEY_CRM_meta_interval": "-", "OCF_RESKEY_CRM_meta_on_node": "-"},
		"a monitor from a shell":     {"OCF_RESKEY_CRM_meta_interval": "-", "OCF_RESKEY_CRM_meta_on_node": "-", "OCF_RESKEY_crm_feature_set": "-"},
	} {
		if build(cmp.Or(change["action"], "monitor"), change).Probe {
			t.Errorf("%s is a probe", name)
		}
	}
	if got := build("start", map[string]string{"OCF_RESKEY_CRM_meta_timeout": "-"}).Timeout; got != time.Minute {
		t.Errorf("the declared timeout is not used: %s", got)
	}
	if got := build("other", map[string]string{"OCF_RESKEY_CRM_meta_timeout": "junk"}).Timeout; got != 20*time.Second {
		t.Errorf("timeout %s", got)
	}
	bare := build("start", map[string]string{"OCF_RESKEY_crm_feature_set": "-", "OCF_RESOURCE_INSTANCE": "-"})
	if bare.InCluster || bare.Resource != "sample" {
		t.Errorf("%+v", bare)
	}
	bad := build("stop", map[string]string{"OCF_RESKEY_port": "x\ny"})
	if CodeOf(bad.ParamErr) != ErrConfigured || strings.Contains(bad.ParamErr.Error(), "\n") || bad.Params.Int("port") != 5432 {
		t.Errorf("%v", bad.ParamErr)
	}
}

func TestNotifyLists(t *testing.T) {
	env := map[string]string{
		notifyPrefix + "type": "pre", notifyPrefix + "operation": "promote",
		notifyPrefix + "stop_uname": " ", notifyPrefix + "start_uname": "", notifyPrefix + "active_uname": "n1 n2 ",
		notifyPrefix + "master_uname": "n1", notifyPrefix + "promoted_uname": " ", notifyPrefix + "slave_uname": "n2",
		notifyPrefix + "inactive_resource": "pgsql:2",
	}
	n := readNotify(func(k string) (string, bool) { s, ok := env[k]; return s, ok })
	if n.Event() != "pre-promote" || n.Promote != nil || n.Available != nil {
		t.Errorf("%+v", n)
	}
	if n.Stop == nil || len(n.Stop) != 0 || n.Start == nil || n.Promoted == nil || len(n.Promoted) != 0 {
		t.Errorf("an empty list must not look absent: %+v", n)
	}
	if !slices.Equal(n.Active, []string{"n1", "n2"}) || !slices.Equal(n.Unpromoted, []string{"n2"}) || !slices.Equal(n.Inactive, []string{"pgsql:2"}) {
		t.Errorf("%+v", n)
	}
	if (Notify{}).Event() != "" {
		t.Error("no event outside a notification")
	}
}

func TestCodes(t *testing.T) {
	for code, name := range map[Code]string{OK: "ok", FailedPromoted: "promoted (failed)", Code(42): "code 42"} {
		if code.String() != name {
			t.Errorf("%d is %q", int(code), code)
		}
	}
	if (&Error{Code: ErrPerm}).Error() != "insufficient privileges" || (&Error{Err: errors.New("x")}).Error() != "x" {
		t.Error("an error without a reason still says something")
	}
}
