package azure

import (
	"testing"
	"time"

	fake "pgrex/tests/fakes/azure"
)

// trouble is what the cloud does to a take-over, and what comes of it.
type trouble struct {
	name string
	// faults are scripted before the take-over.
	faults []fake.Fault
	// wreck does the rest; mend takes it back when the first start has failed. Either may be nil.
	wreck, mend func(*world)
	// within is the first start's time.
	within time.Duration
	// fails says that the first start cannot succeed; the address must then not
	// be on the system, and the next start, with the cloud in order, succeeds.
	fails bool
}

// change matches the requests that change anything.
func change(f fake.Fault) []fake.Fault {
	put, post := f, f
	put.Service, put.Method, put.Path = fake.ARM, "PUT", "/networkInterfaces/n2-"
	post.Service, post.Method, post.Path = fake.ARM, "POST", "/moveIpConfigurations"
	return []fake.Fault{put, post}
}

func troubles() []trouble {
	always := func(f fake.Fault) []fake.Fault {
		f.Times = -1
		return change(f)
	}
	return []trouble{
		{name: "throttled", faults: change(fake.Fault{Status: 429, Code: "TooManyRequests", Message: "The request is being throttled.", RetryAfter: "1"})},
		{name: "busy", faults: change(fake.Fault{Status: 429, Code: "RetryableError", Details: []string{"RetryableErrorDueToAnotherOperation"}, RetryAfter: "10"})},
		{name: "conflict", faults: change(fake.Fault{Status: 409, Code: "AnotherOperationInProgress"})},
		{name: "changed meanwhile", faults: change(fake.Fault{Status: 412, Code: "PreconditionFailed", Details: []string{"PreconditionFailedEtagMismatch"}})},
		{name: "500", faults: change(fake.Fault{Status: 500, Code: "InternalServerError"})},
		{name: "503", faults: change(fake.Fault{Status: 503, Code: "ServiceUnavailable"})},
		{name: "500 although accepted", faults: change(fake.Fault{Status: 500, Code: "InternalServerError", Effect: true})},
		{name: "connection lost", faults: change(fake.Fault{Drop: true})},
		{name: "connection lost although accepted", faults: change(fake.Fault{Drop: true, Effect: true})},
		{name: "answer never comes", faults: change(fake.Fault{Hang: true}), within: 40 * time.Second},
		{name: "answer never comes although accepted", faults: change(fake.Fault{Hang: true, Effect: true}), within: 40 * time.Second},
		{name: "failed operation, once", faults: []fake.Fault{{Service: fake.ARM, Operation: &fake.OperationFault{Code: "InternalServerError", After: ms(300)}}}},
		{name: "failed operation", faults: change(fake.Fault{Times: 2, Operation: &fake.OperationFault{Code: "InternalServerError", Message: "An error occurred.", After: ms(300)}}), fails: true},
		{name: "failed operation, taken back", faults: change(fake.Fault{Times: 2, Operation: &fake.OperationFault{Code: "InternalServerError", After: ms(300), Rollback: true}}), fails: true},
		{name: "cancelled operation", faults: change(fake.Fault{Operation: &fake.OperationFault{Status: "Canceled", Code: "Canceled", After: ms(300)}}), fails: true},
		{name: "slow operation", faults: change(fake.Fault{Operation: &fake.OperationFault{Status: "Succeeded", Effect: true, After: ms(5000)}})},
		{name: "operation unreadable", faults: []fake.Fault{{Service: fake.ARM, Path: "/operations/", Status: 403, Code: "AuthorizationFailed", Times: -1}}},
		{name: "operations do not answer", faults: []fake.Fault{{Service: fake.ARM, Path: "/operations/", Status: 500, Code: "InternalServerError", Times: -1}}},
		{name: "operations fail for ever", faults: always(fake.Fault{Operation: &fake.OperationFault{Code: "InternalServerError", After: ms(100), Rollback: true}}), within: 12 * time.Second, fails: true},
		{name: "operation never ends", faults: always(fake.Fault{Operation: &fake.OperationFault{Stuck: true}}), within: 12 * time.Second, fails: true,
			mend: func(w *world) {
				for _, n := range []string{"n1", "n2"} {
					w.Cancel(w.NIC(n, "service"))
				}
			}},
		{name: "refused for ever", faults: always(fake.Fault{Status: 503, Code: "ServiceUnavailable"}), within: 12 * time.Second, fails: true},
		{name: "metadata down", wreck: func(w *world) { w.try(w.Detach("n2")) }, within: 12 * time.Second, fails: true,
			mend: func(w *world) { w.try(w.Attach(w.t.Context(), "n2", w.nodes["n2"].ns.Path())) }},
		{name: "API unreachable", wreck: func(w *world) { w.try(w.sw.Hide(w.t.Context(), "n2", true)) }, within: 12 * time.Second, fails: true,
			mend: func(w *world) { w.try(w.sw.Hide(w.t.Context(), "n2", false)) }},
		{name: "locked", wreck: func(w *world) { w.Lock(w.GroupID("pgrex"), "ReadOnly") }, within: 12 * time.Second, fails: true,
			mend: func(w *world) { w.Unlock(w.GroupID("pgrex")) }},
	}
}

func (w *world) try(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// TestTrouble lets the cloud misbehave while the address is taken over from a dead
// machine.
func TestTrouble(t *testing.T) {
	for _, tt := range troubles() {
		t.Run(tt.name, func(t *testing.T) {
			each(t, func(t *testing.T, with func(*fake.Config)) {
				w := begin(t, with)
				c := w.calls()
				n1, n2 := w.nodes["n1"], w.nodes["n2"]
				n1.does("start")
				c.from("n1", 10*time.Second)
				n1.die()
				for _, f := range tt.faults {
					w.Script(f)
				}
				if tt.wreck != nil {
					tt.wreck(w)
				}
				w.ForgetRequests()
				within := tt.within
				if within == 0 {
					within = patience
				}
				first := n2.begin(agent, "start", within, params()...)
				code := first.code()
				defer func() {
					if t.Failed() {
						t.Logf("%v\nrequests:\n%s", first, w.requests())
					}
				}()
				if tt.fails {
					if code == 0 || code == -1 {
						t.Fatal("it should have failed within its time")
					}
					if n2.has(vip) {
						t.Error("a failed start left the address on the system")
					}
					w.ClearFaults()
					if tt.mend != nil {
						tt.mend(w)
					}
					n2.does("stop")
					n2.does("start")
				} else if code != 0 {
					t.Fatal("it should have succeeded")
				}
				c.from("n2", 10*time.Second)
				w.only("n2")
				c.order("n1 n2")
				if testing.Verbose() {
					t.Logf("%s: %v", tt.name, first.took.Round(time.Millisecond))
				}
			})
		})
	}
}
