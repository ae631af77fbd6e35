package azure

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"software.sslmate.com/src/go-pkcs12"
)

// parseCertificate reads a certificate with its private key: PEM, or PKCS#12 with or without a passphrase.
// The SDK's own reader knows the encryption of twenty years ago only, which OpenSSL 3 and macOS no longer
// write, and takes every file for PKCS#12 once there is a passphrase.
func parseCertificate(data []byte, passphrase string) ([]*x509.Certificate, crypto.PrivateKey, error) {
	if bytes.Contains(data, []byte("-----BEGIN ")) {
		if encrypted(data) {
			return nil, nil, errors.New("the private key in the PEM file is encrypted, which is not supported; make a PKCS#12 file of it (openssl pkcs12 -export)")
		}
		return azidentity.ParseCertificates(data, nil)
	}
	key, cert, chain, err := pkcs12.DecodeChain(data, passphrase)
	switch {
	case errors.Is(err, pkcs12.ErrIncorrectPassword) && passphrase == "":
		return nil, nil, errors.New("the PKCS#12 file has a passphrase; set password, password_file or password_script")
	case errors.Is(err, pkcs12.ErrIncorrectPassword):
		return nil, nil, errors.New("the passphrase of the PKCS#12 file is another")
	case err != nil:
		return nil, nil, fmt.Errorf("the file is neither PEM nor PKCS#12 with a certificate and its key: %w", err)
	}
	return append([]*x509.Certificate{cert}, chain...), key, nil
}

// encrypted reports whether the private key of a PEM file is, in the new form or the old.
func encrypted(data []byte) bool {
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			return false
		}
		if block.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED") {
			return true
		}
	}
}
