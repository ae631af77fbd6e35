package replication_test

import (
	"testing"

	r "pgrex/lib/replication"
)

// What is written can be read back and says the same; what cannot be read is an
// error and no guess.

func FuzzParseRecord(f *testing.F) {
	for _, s := range []string{
		"", " \n", "epoch=1 primary=n1", "epoch=1001 primary=n1 entitled=n1,n2 leaving=n3 system=7001 timeline=2 lsn=0/3000148",
		"epoch=1 primary=n1 entitled=,,n2,n1,n2 colour=blue", "epoch=x primary=n1", "epoch=1", "primary=n1", "epoch=0 primary=n1", "n1",
		"epoch=18446744073709551615 primary=n1", "epoch=1 primary=n1 lsn=0", "epoch=1 primary=n1 timeline=-1", "epoch=1 primary=a=b",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		rec, err := r.ParseRecord(s)
		if err != nil {
			if rec.Exists() {
				t.Fatalf("%q: an error and a record: %s", s, rec)
			}
			return
		}
		again, err := r.ParseRecord(rec.String())
		if err != nil || !again.Equal(rec) {
			t.Fatalf("%q is read as %q, and that as %q (%v)", s, rec, again, err)
		}
		if rec.Exists() && rec.Primary == "" {
			t.Fatalf("%q: a record without a primary", s)
		}
		if rec.Newer(rec) || again.Newer(rec) || rec.Exists() != rec.Newer(r.Record{}) {
			t.Fatalf("%q: newer than itself, or not newer than nothing", s)
		}
		if rec.Exists() && !r.Newest(r.Record{}, rec).Equal(rec) {
			t.Fatalf("%q is not the newest of itself and none", s)
		}
	})
}

func FuzzParsePublished(f *testing.F) {
	for _, s := range []string{
		"epoch=3 system=7001 timeline=2 lsn=0/3000148 history=1@0/3000000", "timeline=1", "timeline=0", "timeline=4294967296",
		"timeline=3 history=1@0/1,2@0/2", "timeline=3 history=1", "timeline=3 history=@", "timeline=3 history=x@0/1", "timeline=3 history=1@0", "lsn=",
		"timeline=2 what=ever", "timeline", "epoch=-1 timeline=1", "system=y timeline=1",
		"timeline=19 history=1@0/1,2@0/2,3@0/3,4@0/4,5@0/5,6@0/6,7@0/7,8@0/8,9@0/9,10@0/A,11@0/B,12@0/C,13@0/D,14@0/E,15@0/F,16@0/10,17@0/11,18@0/12",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := r.ParsePublished(s)
		if err != nil {
			return
		}
		if !p.Known() || p.Position.String() == "" {
			t.Fatalf("%q: read, yet not known", s)
		}
		again, err := r.ParsePublished(p.String())
		if err != nil || again.String() != p.String() {
			t.Fatalf("%q is read as %q, and that as %q (%v)", s, p, again, err)
		}
		if len(p.History) <= 16 && p.System == again.System && sane(p) && !again.Contains(p.Position) {
			t.Fatalf("%q does not contain itself", s)
		}
	})
}

// sane: no ancestor is listed twice, as no server's history does.
func sane(p r.Published) bool {
	seen := map[uint32]bool{}
	for _, s := range p.History {
		if seen[s.Timeline] {
			return false
		}
		seen[s.Timeline] = true
	}
	return true
}

func FuzzParseLSN(f *testing.F) {
	for _, s := range []string{"0/0", "0/3000148", "16/B374D848", "FFFFFFFF/FFFFFFFF", "ffffffff/0", "100000000/0", "0/", "/0", "0", "+1/0", "0/-1", "0x1/0", "1_0/0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		l, err := r.ParseLSN(s)
		if err != nil {
			return
		}
		again, err := r.ParseLSN(l.String())
		if err != nil || again != l {
			t.Fatalf("%q is read as %s, and that as %s (%v)", s, l, again, err)
		}
	})
}

// FuzzLSNOrder: LSNs sort as numbers, whatever their text does.
func FuzzLSNOrder(f *testing.F) {
	f.Add(uint64(0x9000000), uint64(0x10000000))
	f.Add(uint64(0xFFFFFFFF), uint64(0x100000000))
	f.Fuzz(func(t *testing.T, a, b uint64) {
		x, err := r.ParseLSN(r.LSN(a).String())
		if err != nil || uint64(x) != a {
			t.Fatalf("%d became %d (%v)", a, x, err)
		}
		p := r.Position{System: 1, Timeline: 1, LSN: r.LSN(a)}
		q := r.Position{System: 1, Timeline: 1, LSN: r.LSN(b)}
		if p.Contains(q) != (b <= a) {
			t.Fatalf("%s contains %s: %v", p, q, p.Contains(q))
		}
	})
}
