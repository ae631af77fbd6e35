package replication_test

import (
	"testing"

	r "pgrex/lib/replication"
)

func TestNewestRecord(t *testing.T) {
	parse := func(s string) r.Record {
		rec, err := r.ParseRecord(s)
		if err != nil {
			t.Fatal(err)
		}
		return rec
	}
	// Each is newer than all before it.
	order := []r.Record{
		{},
		parse("epoch=1 primary=n9 timeline=9 lsn=9/0"),
		parse("epoch=1002 primary=n1 timeline=2 lsn=0/FFFFFF0"),
		parse("epoch=1002 primary=n1 timeline=2 lsn=0/10000000"),
		parse("epoch=1002 primary=n2 timeline=2 lsn=0/10000000"),
		parse("epoch=1002 primary=n1 timeline=3 lsn=0/3000000"),
		parse("epoch=2001 primary=n2 timeline=2 lsn=0/10000000"),
		parse("epoch=1001001 primary=n1 timeline=1 lsn=0/0"),
	}
	for i, a := range order {
		for j, b := range order {
			if a.Newer(b) != (i > j) {
				t.Errorf("%q newer than %q: %v", a, b, a.Newer(b))
			}
			if got := r.Newest(a, b); !got.Equal(order[max(i, j)]) {
				t.Errorf("newest of %q and %q is %q", a, b, got)
			}
		}
	}
}

func TestNames(t *testing.T) {
	for got, want := range map[string]string{
		r.Unset.String(): "", r.Never.String(): "-INFINITY", r.Standby.String(): "100", r.Primary.String(): "1000", r.Score(7).String(): "?",
		r.Again.String(): "again", r.Done.String(): "done", r.Wait.String(): "wait", r.No.String(): "no",
		r.Step{Kind: -1}.String(): "?", r.Position{}.String(): "unknown position",
		r.Position{Timeline: 2, LSN: 0x3000148}.String(): "timeline 2 at 0/3000148", r.LSN(1<<33 + 10).String(): "2/A",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// A published history is cut to the newest ancestors; what is left out cannot be
// compared, which is answered by waiting and never by yes.
func TestPublishedHistoryIsCut(t *testing.T) {
	p := r.Published{Epoch: 1, Position: r.Position{System: 1, Timeline: 30, LSN: 3000}}
	for i := range uint32(29) {
		p.History = append(p.History, r.Switch{Timeline: i + 1, End: r.LSN(i+1) * 100})
	}
	read, err := r.ParsePublished(p.String())
	if err != nil || len(read.History) != 16 {
		t.Fatalf("%v, %d ancestors", err, len(read.History))
	}
	near, far := r.Position{System: 1, Timeline: 20, LSN: 1900}, r.Position{System: 1, Timeline: 3, LSN: 50}
	if !read.Contains(near) || read.Contains(far) || !p.Contains(far) {
		t.Error("the published history does not say what it should")
	}
	if near.Contains(r.Position{System: 1}) || near.Contains(r.Position{System: 2, Timeline: 20}) {
		t.Error("what is not known, or of another system, is contained")
	}
}
