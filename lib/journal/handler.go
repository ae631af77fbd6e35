package journal

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
)

// handler turns records into lines: the message first, key=value last.
type handler struct {
	out *Journal
	// prefix holds attributes given by With, already formatted; group is the open group's prefix.
	prefix, group string
}

// Enabled lets everything pass: each destination has a least severity of its own.
func (h *handler) Enabled(context.Context, slog.Level) bool { return true }

// Handle writes one record.
func (h *handler) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	b.WriteString(r.Message)
	b.WriteString(h.prefix)
	r.Attrs(func(a slog.Attr) bool {
		writeAttr(&b, h.group, a)
		return true
	})
	h.out.line(r.Level, b.String())
	return nil
}

// WithAttrs returns a handler that adds attributes to every line.
func (h *handler) WithAttrs(as []slog.Attr) slog.Handler {
	var b strings.Builder
	for _, a := range as {
		writeAttr(&b, h.group, a)
	}
	return &handler{out: h.out, prefix: h.prefix + b.String(), group: h.group}
}

// WithGroup returns a handler that puts the group's name before the names of attributes.
func (h *handler) WithGroup(name string) slog.Handler {
	return &handler{out: h.out, prefix: h.prefix, group: h.group + name + "."}
}

func writeAttr(b *strings.Builder, group string, a slog.Attr) {
	v := a.Value.Resolve()
	if v.Kind() == slog.KindGroup {
		for _, g := range v.Group() {
			writeAttr(b, group+a.Key+".", g)
		}
		return
	}
	s := v.String()
	if s == "" || strings.ContainsAny(s, " \t\n\"=") {
		s = fmt.Sprintf("%q", s)
	}
	fmt.Fprintf(b, " %s%s=%s", group, a.Key, s)
}
