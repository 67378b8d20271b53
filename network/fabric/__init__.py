"""Engine `fabric`: Hyperledger Fabric's own peer and orderer as plain processes.

What enters: settings files, an external builder and join requests for Fabric's executables, which
the operator brings (FABRIC_BIN). Nothing of Fabric itself is here."""
