package azure

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
)

// Control serves the stand-in's own interface, for people and for tests of other
// programs. It belongs on a unix socket, not among what clients see:
//
//	GET    /vms                      the machines
//	PUT    /vms/{group}/{vm}         make or replace one (VM)
//	PUT    /vms/{group}/{vm}/power   the state in the body, as nature would change it
//	PUT    /latency                  Latency
//	POST   /faults                   script one (Fault)
//	DELETE /faults                   forget all
//	GET    /requests?from=N          the journal from entry N on
//	DELETE /requests                 empty the journal
//	GET    /bindings                 which interface got which address when (Binding)
//	PUT    /move                     whether ipConfigurations can be moved (Move)
func (c *Cloud) Control() http.Handler {
	mux := http.NewServeMux()
	reply := func(w http.ResponseWriter, v any, err error) {
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		_ = enc.Encode(v) // the client may have gone
	}
	mux.HandleFunc("GET /vms", func(w http.ResponseWriter, _ *http.Request) { reply(w, c.VMs(), nil) })
	mux.HandleFunc("PUT /vms/{group}/{vm}", func(w http.ResponseWriter, r *http.Request) {
		vm, err := read[VM](r)
		if err == nil {
			vm.Group, vm.Name = r.PathValue("group"), r.PathValue("vm")
			err = c.AddVM(vm)
		}
		reply(w, vm, err)
	})
	mux.HandleFunc("PUT /vms/{group}/{vm}/power", func(w http.ResponseWriter, r *http.Request) {
		state, err := read[string](r)
		if err == nil {
			err = c.Change(r.PathValue("group"), r.PathValue("vm"), func(vm *VM) { vm.Power = state })
		}
		reply(w, state, err)
	})
	mux.HandleFunc("PUT /latency", func(w http.ResponseWriter, r *http.Request) {
		l, err := read[Latency](r)
		if err == nil {
			c.SetLatency(l)
		}
		reply(w, l, err)
	})
	mux.HandleFunc("POST /faults", func(w http.ResponseWriter, r *http.Request) {
		f, err := read[Fault](r)
		if err == nil {
			c.Script(f)
		}
		reply(w, f, err)
	})
	mux.HandleFunc("DELETE /faults", func(w http.ResponseWriter, _ *http.Request) {
		c.ClearFaults()
		reply(w, "forgotten", nil)
	})
	mux.HandleFunc("GET /requests", func(w http.ResponseWriter, r *http.Request) {
		all := c.Requests()
		from, err := strconv.Atoi(r.FormValue("from"))
		if err != nil || from < 0 {
			from = 0
		}
		reply(w, all[min(from, len(all)):], nil)
	})
	mux.HandleFunc("DELETE /requests", func(w http.ResponseWriter, _ *http.Request) {
		c.ForgetRequests()
		reply(w, "forgotten", nil)
	})
	mux.HandleFunc("GET /bindings", func(w http.ResponseWriter, _ *http.Request) { reply(w, c.Bindings(), nil) })
	mux.HandleFunc("PUT /move", func(w http.ResponseWriter, r *http.Request) {
		m, err := read[Move](r)
		if err == nil {
			c.SetMove(m)
		}
		reply(w, m, err)
	})
	return mux
}

// read decodes a body and refuses fields that nobody knows: a misspelt fault
// would otherwise be no fault at all.
func read[T any](r *http.Request) (T, error) {
	var v T
	dec := json.NewDecoder(r.Body)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&v); err != nil {
		return v, fmt.Errorf("the body is not what %s takes: %w", r.URL.Path, err)
	}
	return v, nil
}
