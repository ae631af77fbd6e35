// Package azure is one Azure Resource Manager (ARM) as a program sees it: which Azure it is
// (place.go), who we are there (identity.go), requests in ARM's own JSON so that no field is lost
// (client.go, json.go), operations that ARM carries out behind our back (operation.go), what is worth
// repeating (retry.go), what a refusal means (refusal.go, errors.go), what a role allows (rights.go)
// and what the machine's instance metadata service tells (metadata.go).
//
// It knows neither virtual machines nor network interfaces: fence/azure and lib/cloud/azure do. Its
// sentences name parameters as the agents of this suite spell them (username, tenantId,
// subscriptionId, resourceGroup, cloud, metadata_endpoint, identity).
package azure
