"""Clinical interviews: DAIC-WOZ, E-DAIC, and interviews of no corpus."""
