package main

import (
	"os"
	"strings"
)

const (
	// assetTag is where the firmware of every virtual machine of Azure says azureTag.
	assetTag = "/sys/class/dmi/id/chassis_asset_tag"
	azureTag = "7783-7084-3265-9085-8269-3286-77"
)

// azureKind is provider=azure. Also an agent without its driver knows where it is needed.
func azureKind() providerKind {
	return providerKind{name: "azure", detect: onAzure, build: buildAzure}
}

// onAzure looks at what the firmware says: that is a file, also on hardware.
func onAzure() bool {
	b, err := os.ReadFile(assetTag)
	return err == nil && strings.TrimSpace(string(b)) == azureTag
}
