package ocf

import (
	"strings"
	"testing"
)

// The environment is the resource manager's, or anybody's with a shell: no value of it
// may bring an action down, or give one no time or no end.
func FuzzEnvironment(f *testing.F) {
	for _, s := range []string{
		"OCF_RESKEY_CRM_meta_timeout=60000\nOCF_RESKEY_CRM_meta_interval=0", "OCF_RESKEY_CRM_meta_timeout=9223372036854775807\nOCF_RESKEY_CRM_meta_interval=9223372036854775807",
		"OCF_RESKEY_CRM_meta_timeout=-1", "OCF_RESKEY_CRM_meta_notify_promote_uname= \nOCF_RESKEY_CRM_meta_notify_master_uname=n1 n2", "OCF_RESOURCE_INSTANCE=:\nOCF_CHECK_LEVEL=x",
		"OCF_RESKEY_port=1\x00\nOCF_RESKEY_crm_feature_set=3", "OCF_RESKEY_CRM_meta_promoted_max=99999999999\nOCF_RA_VERSION_MAJOR=1\nOCF_RA_VERSION_MINOR=-1", "=", "",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		env := map[string]string{}
		for line := range strings.Lines(text) {
			k, v, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
			env[k] = v
		}
		lookup := func(k string) (string, bool) { v, ok := env[k]; return v, ok }
		c := NewCall(sampleMeta(), "monitor", lookup, nil)
		if c.Timeout <= 0 || c.Interval < 0 || c.PromotedMax < 0 || margin(c.Timeout) >= c.Timeout {
			t.Errorf("timeout %v, interval %v, promoted-max %d", c.Timeout, c.Interval, c.PromotedMax)
		}
		if c.ParamErr != nil && CodeOf(c.ParamErr) != ErrConfigured {
			t.Errorf("%v", c.ParamErr)
		}
		_ = c.Notify.Event()
		_ = dialect(lookup)
	})
}
