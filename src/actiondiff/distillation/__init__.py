"""Students: small networks that learn a backbone's features on the user's own videos."""
