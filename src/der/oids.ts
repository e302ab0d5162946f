// Object identifiers by the names the standards give them.

/** Certificate extensions and extended key usages (RFC 5280 4.2). */
export const subjectKeyIdentifier = "2.5.29.14";
export const keyUsage = "2.5.29.15";
export const subjectAltName = "2.5.29.17";
export const basicConstraints = "2.5.29.19";
export const nameConstraints = "2.5.29.30";
export const certificatePolicies = "2.5.29.32";
export const policyConstraints = "2.5.29.36";
export const cRLNumber = "2.5.29.20";
export const reasonCode = "2.5.29.21";
export const deltaCRLIndicator = "2.5.29.27";
export const issuingDistributionPoint = "2.5.29.28";
export const cRLDistributionPoints = "2.5.29.31";
export const authorityKeyIdentifier = "2.5.29.35";
export const extKeyUsage = "2.5.29.37";
export const authorityInfoAccess = "1.3.6.1.5.5.7.1.1";

export const anyExtendedKeyUsage = "2.5.29.37.0";
export const serverAuth = "1.3.6.1.5.5.7.3.1";
export const clientAuth = "1.3.6.1.5.5.7.3.2";
export const codeSigning = "1.3.6.1.5.5.7.3.3";
export const timeStamping = "1.3.6.1.5.5.7.3.8";

/** PKCS#9 and PKCS#10. */
export const extensionRequest = "1.2.840.113549.1.9.14";
export const contentType = "1.2.840.113549.1.9.3";
export const messageDigest = "1.2.840.113549.1.9.4";
export const signingTime = "1.2.840.113549.1.9.5";
export const counterSignature = "1.2.840.113549.1.9.6";

/** CMS and PKCS#7. */
export const data = "1.2.840.113549.1.7.1";
export const signedData = "1.2.840.113549.1.7.2";
export const encryptedData = "1.2.840.113549.1.7.6";

/** RFC 3161, RFC 5035, RFC 5816. */
export const tstInfo = "1.2.840.113549.1.9.16.1.4";
export const signingCertificate = "1.2.840.113549.1.9.16.2.12";
export const timeStampToken = "1.2.840.113549.1.9.16.2.14";
export const signingCertificateV2 = "1.2.840.113549.1.9.16.2.47";

/** Digests. */
export const md5 = "1.2.840.113549.2.5";
export const sha1 = "1.3.14.3.2.26";
export const sha256 = "2.16.840.1.101.3.4.2.1";
export const sha384 = "2.16.840.1.101.3.4.2.2";
export const sha512 = "2.16.840.1.101.3.4.2.3";
export const sha3_256 = "2.16.840.1.101.3.4.2.8";
export const sha3_384 = "2.16.840.1.101.3.4.2.9";
export const sha3_512 = "2.16.840.1.101.3.4.2.10";

/** Keys and signatures. */
export const rsaEncryption = "1.2.840.113549.1.1.1";
export const md5WithRSA = "1.2.840.113549.1.1.4";
/** OIW, before PKCS#1 had a number for it. */
export const oiwSha1WithRSA = "1.3.14.3.2.29";
export const sha1WithRSA = "1.2.840.113549.1.1.5";
export const sha256WithRSA = "1.2.840.113549.1.1.11";
export const sha384WithRSA = "1.2.840.113549.1.1.12";
export const sha512WithRSA = "1.2.840.113549.1.1.13";
export const rsassaPss = "1.2.840.113549.1.1.10";
export const mgf1 = "1.2.840.113549.1.1.8";
export const ecPublicKey = "1.2.840.10045.2.1";
export const ecdsaWithSHA1 = "1.2.840.10045.4.1";
export const ecdsaWithSHA256 = "1.2.840.10045.4.3.2";
export const ecdsaWithSHA384 = "1.2.840.10045.4.3.3";
export const ecdsaWithSHA512 = "1.2.840.10045.4.3.4";
export const ed25519 = "1.3.101.112";
