package bench

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
)

// PGREX_UPDATE=1 writes the picture anew; look at it before it is committed.
func TestWriteSVG(t *testing.T) {
	const golden = "testdata/timelines.svg"
	r := sample()
	// A fault where one side has nothing but words, with signs that XML escapes.
	r.Rows = append(r.Rows, Row{Fault: "a < b & c", Sides: map[string]Series{
		"reference": {{AtLeast: 90e9, Failure: "x"}}, "ours": {r.Rows[0].Sides["ours"][1]}}})
	var b bytes.Buffer
	if err := r.WriteSVG(&b); err != nil {
		t.Fatal(err)
	}
	if os.Getenv("PGREX_UPDATE") != "" {
		if err := os.WriteFile(golden, b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(b.Bytes(), want) {
		t.Errorf("the picture differs from %s; got\n%s", golden, b.String())
	}
	for d := xml.NewDecoder(bytes.NewReader(b.Bytes())); ; {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("no XML: %v", err)
		}
	}
	// 7 s fill a width of 710: the last 0.1 s of the reference are 10.1 of it.
	for _, part := range []string{"none within 90 s", "a &lt; b &amp; c", `x="889.9" y="92" width="10.1"`, "noticed 0.03 · demote 0.30"} {
		if !strings.Contains(b.String(), part) {
			t.Errorf("no %s in the picture", part)
		}
	}
}

// A report without timelines is a picture without bars, not an error.
func TestWriteSVGEmpty(t *testing.T) {
	for _, r := range []Report{{}, {Sides: []Side{{Name: "ours"}}, Rows: []Row{{Fault: "x", Sides: map[string]Series{"ours": seconds(1)}}}}} {
		var b bytes.Buffer
		if err := r.WriteSVG(&b); err != nil || strings.Contains(b.String(), "height=\"14\"") {
			t.Errorf("%v, %s", err, b.String())
		}
	}
}
