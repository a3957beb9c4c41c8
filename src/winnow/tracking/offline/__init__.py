"""What a store did not take: kept on this machine and sent later."""
